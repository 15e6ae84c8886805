"""A small real site on django_bgtasks: uploads, emails and reports in the background."""
