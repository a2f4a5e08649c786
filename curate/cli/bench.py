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
  curate bench parts/ -o bench --scorers default,neighbours    adds what bench/ lacks
  curate bench --list                           the names of all methods
"""


def bench(
    datasets: Annotated[
        list[Path] | None,
        typer.Argument(help="Labelled sets: good/ and defect/<type>/, MVTec AD, or one folder a class."),
    ] = None,
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the results; an earlier run is continued.")
    ] = Path("bench"),
    shares: Annotated[str, typer.Option(help="Shares of noise, defective / all, 0 to 0.5.")] = "0,0.05,0.1,0.2,0.4,0.5",
    seeds: Annotated[int, typer.Option(min=1, help="Draws of each share.")] = 3,
    scorers: Annotated[str, typer.Option(help="Ways to scan; see --list.")] = "default",
    ablate: Annotated[str, typer.Option(help="Ablations; see --list.")] = "",
    baselines: Annotated[str, typer.Option(help="Other methods: all, none, or names.")] = "all",
    detectors: Annotated[
        str, typer.Option(help="Detectors, trained on raw, cleaned and clean sets: none, or names.")
    ] = "neighbours",
    clean_by: Annotated[
        str | None, typer.Option(help="Methods whose verdicts clean the sets. Default: those of --scorers.")
    ] = None,
    nominal: Annotated[str | None, typer.Option(help="The nominal class folder. Default: good.")] = None,
    images: Annotated[int, typer.Option(min=8, help="Images wanted in a training set.")] = 200,
    test_share: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Share of nominal and of defective images kept for the test.")
    ] = 0.4,
    backbone: Annotated[
        str | None, typer.Option(help="A timm model, its short name, or A+B. Default: curate_s+efficientnet-lite0.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights of --backbone.")] = None,
    image_size: Annotated[str, typer.Option(help="Longest side of the network's input in px, or auto.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    same_part: Annotated[
        bool | None,
        typer.Option(
            "--same-part/--no-same-part",
            help="Find shots of the same part: they are drawn together, and scanned as in curate scan.",
        ),
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of the embedding cache.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Refuse every use of the network.")] = False,
    redo: Annotated[str, typer.Option(help="Methods whose cells are computed again.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    throughput: Annotated[
        bool, typer.Option("--throughput", help="Measure speed and memory too, on the first set.")
    ] = False,
    list_: Annotated[
        bool, typer.Option("--list", help="List all scorers, ablations, baselines and detectors, and exit.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; errors only on stderr.")] = False,
) -> None:
    """Put known noise into labelled sets; measure what finds it, and whether cleaning helps."""
    from curate.bench.call import Call, listed, run_bench
    from curate.cli.screen import Screen

    if list_:
        typer.echo(listed())
        return
    settings = {
        "backbone": backbone,
        "weights": weights,
        "image_size": image_size,
        "device": device,
        "same_part": same_part,
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
        redo=redo,
        jobs=jobs,
        throughput=throughput,
        settings={name: value for name, value in settings.items() if value is not None},
    )
    typer.echo(run_bench(call, output, screen=Screen(quiet=quiet)))
