"""The addresses of the app."""

from __future__ import annotations

from django.contrib.auth import views as auth
from django.urls import path, reverse_lazy

from .views import accounts, albums, cities, contacts, home, jobs, pictures, reports

app_name = "office"

HERE = "office/accounts"

urlpatterns = [
    path("", home.home, name="home"),
    path("pictures/", pictures.pictures, name="pictures"),
    path("pictures/<uuid:picture_id>/", pictures.picture, name="picture"),
    path("pictures/<uuid:picture_id>/<slug:name>.webp", pictures.picture_size, name="size"),
    path("albums/", albums.albums, name="albums"),
    path("albums/<uuid:album_id>/", albums.album, name="album"),
    path("albums/<uuid:album_id>/sheet.webp", albums.sheet, name="sheet"),
    path("albums/<uuid:album_id>/retry/", albums.retry, name="retry_album"),
    path("albums/<uuid:album_id>/<int:picture_id>.webp", albums.thumbnail, name="thumbnail"),
    path("albums/<uuid:album_id>/<int:picture_id>/", albums.replace, name="replace"),
    path("contacts/", contacts.contacts, name="contacts"),
    path("contacts/<uuid:import_id>/", contacts.import_page, name="import"),
    path("cities/", cities.cities, name="cities"),
    path("reports/", reports.reports, name="reports"),
    path("reports/schedule/", reports.schedule, name="report_schedule"),
    path("reports/schedule/remove/", reports.remove, name="remove_report_schedule"),
    path("reports/<uuid:report_id>.csv", reports.download, {"kind": "csv"}, name="report_csv"),
    path("reports/<uuid:report_id>.pdf", reports.download, {"kind": "pdf"}, name="report_pdf"),
    path("jobs/", jobs.jobs, name="jobs"),
    path("jobs/<uuid:job_id>/", jobs.job, name="job"),
    path("jobs/<uuid:job_id>/retry/", jobs.retry, name="retry"),
    path("accounts/sign-up/", accounts.sign_up, name="sign_up"),
    path(
        "accounts/login/",
        auth.LoginView.as_view(
            template_name=f"{HERE}/login.html", redirect_authenticated_user=True
        ),
        name="login",
    ),
    path("accounts/logout/", auth.LogoutView.as_view(), name="logout"),
    path("accounts/reset/", accounts.PasswordReset.as_view(), name="password_reset"),
    path(
        "accounts/reset/sent/",
        auth.PasswordResetDoneView.as_view(template_name=f"{HERE}/password_reset_done.html"),
        name="password_reset_done",
    ),
    path(
        "accounts/reset/<uidb64>/<token>/",
        auth.PasswordResetConfirmView.as_view(
            template_name=f"{HERE}/password_reset_confirm.html",
            success_url=reverse_lazy("office:login"),
        ),
        name="password_reset_confirm",
    ),
]
