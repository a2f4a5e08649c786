"""Cut README's picture from an audit's sheet: python examples/readme_picture.py flagged.png OUT.jpg"""

import sys

from PIL import Image

from curate.reports.maps import SHEET_CELL_PX

ROWS = 6

with Image.open(sys.argv[1]) as sheet:
    sheet.convert("RGB").crop((0, 0, sheet.width, min(sheet.height, 34 + ROWS * (SHEET_CELL_PX + 10)))).save(
        sys.argv[2], quality=85
    )
