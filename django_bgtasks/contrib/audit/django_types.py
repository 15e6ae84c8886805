"""What Django's models, managers and querysets give, and what JSON does not have."""

from __future__ import annotations

MODELS = frozenset({
    "django.contrib.auth.base_user.AbstractBaseUser", "django.contrib.auth.get_user_model()",
    "django.contrib.auth.models.AbstractBaseUser", "django.contrib.auth.models.AbstractUser",
    "django.contrib.auth.models.Group", "django.contrib.auth.models.Permission",
    "django.contrib.auth.models.User", "django.contrib.contenttypes.models.ContentType",
    "django.contrib.sites.models.Site", "django.contrib.gis.db.models.Model",
    "django.db.models.Model", "django.db.models.base.Model", "model_utils.models.TimeStampedModel",
    "mptt.models.MPTTModel", "polymorphic.models.PolymorphicModel", "treebeard.mp_tree.MP_Node",
    "wagtail.models.Page", "django_extensions.db.models.TimeStampedModel",
})  # fmt: skip
MANAGERS = frozenset({"_base_manager", "_default_manager", "objects"})
FIELDS = ("django.db.models.", "django.contrib.gis.db.models.")
# What an attribute of an instance is, by the class of its field.
FIELD_TYPES = {
    "BinaryField": "builtins.bytes()",
    "DateField": "datetime.date()",
    "DateTimeField": "datetime.datetime()",
    "DecimalField": "decimal.Decimal()",
    "DurationField": "datetime.timedelta()",
    "FileField": "django.db.models.fields.files.FieldFile()",
    "ImageField": "django.db.models.fields.files.FieldFile()",
    "TimeField": "datetime.time()",
    "UUIDField": "uuid.UUID()",
}
RELATIONS = frozenset({"ForeignKey", "OneToOneField"})

GIVE_ONE = frozenset({
    "acreate", "aearliest", "afirst", "aget", "alast", "alatest", "create", "create_user",
    "create_superuser", "earliest", "first", "get", "get_by_natural_key", "last", "latest",
})  # fmt: skip
GIVE_PAIR = frozenset({"aget_or_create", "aupdate_or_create", "get_or_create", "update_or_create"})
GIVE_VALUES = frozenset({"dates", "datetimes", "values", "values_list"})
GIVE_LIST = frozenset({"bulk_create", "abulk_create"})
GIVE_ROWS = frozenset({
    "all", "alias", "annotate", "complex_filter", "defer", "difference", "distinct", "exclude",
    "extra", "filter", "intersection", "iterator", "none", "only", "order_by", "prefetch_related",
    "raw", "reverse", "select_for_update", "select_related", "union", "using",
})  # fmt: skip

TEXT_ENUMERATIONS = frozenset({
    "django.db.models.IntegerChoices", "django.db.models.TextChoices", "enum.IntEnum",
    "enum.StrEnum",
})  # fmt: skip
ENUMERATIONS = TEXT_ENUMERATIONS | {
    "django.db.models.Choices", "enum.Enum", "enum.Flag", "enum.IntFlag",
}  # fmt: skip

MODEL, QUERYSET, REQUEST, CALLABLE = "model instance", "queryset", "request", "function or class"
DATE, NUMBER, IDENTIFIER, BYTES = "date or time", "Decimal", "UUID", "bytes"
SET, GENERATOR, FILE, ERROR, LAZY = "set", "generator", "file", "exception", "lazy text"
DATACLASS, ENUMERATION, PATH, OBJECT = "dataclass", "enumeration", "path", "object"
COMPLEX, TUPLES = "complex number", "named tuple"

# What is no JSON, by what an expression gives.
NO_JSON = {
    "datetime.datetime()": DATE,
    "datetime.date()": DATE,
    "datetime.time()": DATE,
    "datetime.timedelta()": DATE,
    "decimal.Decimal()": NUMBER,
    "fractions.Fraction()": OBJECT,
    "uuid.UUID()": IDENTIFIER,
    "builtins.bytes()": BYTES,
    "builtins.bytearray()": BYTES,
    "builtins.memoryview()": BYTES,
    "builtins.set()": SET,
    "builtins.frozenset()": SET,
    "builtins.map()": GENERATOR,
    "builtins.filter()": GENERATOR,
    "builtins.zip()": GENERATOR,
    "builtins.complex()": COMPLEX,
    "builtins.open()": FILE,
    "io.BytesIO()": FILE,
    "io.StringIO()": FILE,
    "tempfile.NamedTemporaryFile()": FILE,
    "django.core.files.base.ContentFile()": FILE,
    "django.core.files.File()": FILE,
    "django.db.models.fields.files.FieldFile()": FILE,
    "django.http.request.HttpRequest()": REQUEST,
    "django.utils.translation.lazy()": LAZY,
    "django.db.models.Q()": OBJECT,
    "pathlib.Path()": PATH,
    "pathlib.PurePath()": PATH,
    **{f"{path}()": MODEL for path in MODELS},
}
# With types="django" these arrive as they left.
TYPES_HAVE = frozenset({
    BYTES, DATACLASS, DATE, ENUMERATION, IDENTIFIER, LAZY, MODEL, NUMBER, PATH, SET, TUPLES,
})  # fmt: skip
