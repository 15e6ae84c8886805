"""A picture and a table of contacts to upload."""

from __future__ import annotations

import csv
import io
import zipfile

from PIL import Image

CITIES = ("Lyon", "Porto", "Graz", "Gdańsk", "Malmö", "Leuven", "Turin", "Bergen")
FIRST = ("Ada", "Bruno", "Chiara", "Dario", "Élise", "Frida", "Goran", "Hana")
LAST = ("Moreau", "Silva", "Huber", "Nowak", "Lind", "Peeters", "Conti", "Dahl")


def picture(width: int = 2400, height: int = 1600) -> bytes:
    """A JPEG as a phone makes it: lying on its side, with a note of how to turn it."""
    ramps = [Image.linear_gradient("L"), Image.radial_gradient("L")]
    bands = [ramps[0], ramps[1], ramps[0].rotate(90)]
    image = Image.merge("RGB", bands).resize((width, height))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "A camera whose name is nobody's business"
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92, exif=exif)
    return file.getvalue()


def contacts(rows: int) -> bytes:
    """A CSV with so many contacts, and one line that is none."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(("name", "email", "company", "city"))
    for i in range(rows):
        name = f"{FIRST[i % 8]} {LAST[i // 8 % 8]}"
        writer.writerow((name, f"contact{i}@example.org", f"Company {i % 97}", CITIES[i % 7]))
    writer.writerow(("nobody", "", "", ""))
    return file.getvalue().encode()


def album(count: int = 24, broken: str = "") -> bytes:
    """A zip with so many pictures; one of this name more, which cannot be read."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(count):
            shade = Image.new("RGB", (320, 240), ((number * 37) % 256, (number * 91) % 256, 160))
            content = io.BytesIO()
            shade.save(content, "JPEG")
            archive.writestr(f"trip/day-{number + 1:02}.jpg", content.getvalue())
        if broken:
            archive.writestr(f"trip/{broken}", picture(400, 300)[:900])
        archive.writestr("trip/notes.txt", "no picture")
    return file.getvalue()
