"""`curate bench`: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BENCH_EXAMPLES = """\b
Examples:
  curate bench parts/                           parts/ has good/ and defect/<type>/; results in bench/
  curate bench a/ b/ --shares 0,0.1 --seeds 5   two sets, two shares, five draws each
  curate bench mvtec/bottle --scorers default --baselines datalab,knn --detectors neighbours
  curate bench parts/ -o bench --scorers default,neighbours    adds what is missing to bench/
  curate bench parts/ --search 20               the flow's settings, by held-back training images
  curate bench --list                           the names there are
"""


def bench(
    datasets: Annotated[
        list[Path] | None,
        typer.Argument(help="Labelled sets: good/ and defect/<type>/, MVTec AD, or a folder a class."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the results; an earlier run goes on.")
    ] = Path("bench"),
    shares: Annotated[str, typer.Option(help="Shares of noise, defective / all, 0 to 0.5.")] = "0,0.05,0.1,0.2,0.4,0.5",
    seeds: Annotated[int, typer.Option(min=1, help="How many draws of each share.")] = 3,
    scorers: Annotated[str, typer.Option(help="Ways to scan; --list names them.")] = "default",
    ablate: Annotated[str, typer.Option(help="Ablations; --list names them.")] = "",
    baselines: Annotated[str, typer.Option(help="Other methods; all, none, or names.")] = "all",
    detectors: Annotated[
        str, typer.Option(help="Trained on raw, cleaned and clean sets; none, or names.")
    ] = "neighbours",
    clean_by: Annotated[
        str | None, typer.Option(help="Methods whose verdicts clean. Default: those of --scorers.")
    ] = None,
    nominal: Annotated[str | None, typer.Option(help="The class folder that is nominal. Default: good.")] = None,
    images: Annotated[int, typer.Option(min=8, help="Images wanted in a training set.")] = 200,
    test_share: Annotated[float, typer.Option(min=0.05, max=0.9, help="Share of each kind kept for the test.")] = 0.4,
    backbone: Annotated[
        str | None, typer.Option(help="Imported or timm model. Default: the packaged curate_s.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights of --backbone.")] = None,
    image_size: Annotated[str, typer.Option(help="Longest side in px that the network sees, or auto.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cache: Annotated[Path | None, typer.Option(help="Folder of the embedding cache.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Refuse every use of the network.")] = False,
    search: Annotated[
        int, typer.Option(help="Trials of a Bayesian search over the flow's rates and penalties; 0 for none.")
    ] = 0,
    redo: Annotated[str, typer.Option(help="Methods whose cells are computed again.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    throughput: Annotated[
        bool, typer.Option("--throughput", help="Measure speed and memory too, on the first set.")
    ] = False,
    list_: Annotated[
        bool, typer.Option("--list", help="Name the scorers, ablations, baselines and detectors, and exit.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; errors only on stderr.")] = False,
) -> None:
    """Put known noise into labelled sets, and measure what finds it and whether cleaning helps."""
    from curate.bench.call import Call, listed, run_bench
    from curate.screen import Screen

    if list_:
        typer.echo(listed())
        return
    given = {
        "backbone": backbone,
        "weights": weights,
        "image_size": image_size,
        "device": device,
        "cache": cache,
        "offline": offline,
    }
    call = Call(
        datasets=tuple(datasets or ()),
        shares=shares,
        seeds=seeds,
        scorers=scorers,
        ablate=ablate,
        baselines=baselines,
        detectors=detectors,
        clean_by=clean_by,
        nominal=nominal,
        images=images,
        test_share=test_share,
        search=search,
        redo=redo,
        jobs=jobs,
        throughput=throughput,
        settings={name: value for name, value in given.items() if value is not None},
    )
    typer.echo(run_bench(call, output, screen=Screen(quiet=quiet)))
