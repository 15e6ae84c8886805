"""System checks. No I/O: what needs a look at Redis is in `bgdoctor`."""
