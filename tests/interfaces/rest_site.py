"""Views of Django REST framework, decorated in the ways that sites do it."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, User
from django.urls import path
from django.utils.decorators import method_decorator
from rest_framework.authentication import BaseAuthentication
from rest_framework.decorators import action, api_view, authentication_classes
from rest_framework.exceptions import ValidationError
from rest_framework.permissions import BasePermission
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.serializers import ModelSerializer
from rest_framework.views import APIView
from rest_framework.viewsets import ModelViewSet, ViewSet

from django_bgtasks import idempotent

from .idempotent_site import effect


class Tokens(BaseAuthentication):
    """`Authorization: NAME.TOKEN`, of which a user may have several."""

    def authenticate(self, request: Any) -> Any:
        name = request.headers.get("Authorization", "").partition(".")[0]
        return (User.objects.get(username=name), None) if name else None


class LooksFirst(BasePermission):
    """Has the body parsed before the view is called."""

    def has_permission(self, request: Any, view: Any) -> bool:
        return request.data is not None


def made_by(request: Any) -> Response:
    """An order, unless the request is not valid."""
    made = effect()
    if request.data.get("item") == "none":
        raise ValidationError({"item": "There is none."})
    if request.data.get("item") == "sold":
        return Response({"item": "It is sold."}, status=400)
    return Response({"by": str(request.user), "made": made.name}, status=201)


class GroupSerializer(ModelSerializer[Any]):
    """A group."""

    class Meta:
        model = Group
        fields = ("id", "name")


class Orders(APIView):
    """What is common."""

    authentication_classes = (Tokens,)

    def post(self, request: Any) -> Response:
        """Make an order."""
        return made_by(request)


@method_decorator(idempotent, name="dispatch")
class OnDispatch(Orders):
    """The class is decorated."""


class OnMethod(Orders):
    """The method is decorated, as Django's docs say."""

    @method_decorator(idempotent)
    def post(self, request: Any) -> Response:
        """Make an order."""
        return made_by(request)

    patch = post


@method_decorator(idempotent(required=False), name="post")
class OnPost(Orders):
    """The method is decorated from outside."""


class OnMethodItself(Orders):
    """The method is decorated without method_decorator, and the body is parsed before."""

    permission_classes = (LooksFirst,)

    @idempotent
    def post(self, request: Any) -> Response:
        """Make an order."""
        return made_by(request)


@method_decorator(idempotent, name="create")
class Groups(ModelViewSet):
    """What the framework does by itself, decorated from outside."""

    authentication_classes = (Tokens,)
    queryset = Group.objects.all()
    serializer_class = GroupSerializer

    @idempotent
    @action(detail=True, methods=["post"])
    def rename(self, request: Any, pk: str) -> Response:
        """One more action."""
        return Response({"pk": pk, "name": effect("renamed").name}, status=201)


class Baskets(ViewSet):
    """One class, several actions."""

    authentication_classes = (Tokens,)

    @idempotent
    def create(self, request: Any) -> Response:
        """Make a basket."""
        return made_by(request)

    @idempotent
    def pay(self, request: Any) -> Response:
        """Pay for it."""
        return made_by(request)


@api_view(["POST"])
@authentication_classes([Tokens])
@idempotent
def inside(request: Any) -> Response:
    """Decorated within."""
    return made_by(request)


@idempotent
@api_view(["POST"])
@authentication_classes([Tokens])
def outside(request: Any) -> Response:
    """Decorated around."""
    return made_by(request)


@idempotent
@api_view(["POST"])
@authentication_classes([Tokens])
def outside_too(request: Any) -> Response:
    """Another one of this module."""
    return made_by(request)


router = SimpleRouter()
router.register("groups", Groups)
urlpatterns = [
    path("dispatch/", OnDispatch.as_view()),
    path("method/", OnMethod.as_view()),
    path("post/", OnPost.as_view()),
    path("itself/", OnMethodItself.as_view()),
    path("view/", idempotent(Orders.as_view())),
    path("inside/", inside),
    path("outside/", outside),
    path("outside-too/", outside_too),
    path("baskets/", Baskets.as_view({"post": "create"})),
    path("baskets/pay/", Baskets.as_view({"post": "pay"})),
]
PLACES = [f"/{pattern.pattern}" for pattern in urlpatterns]
urlpatterns += router.urls
