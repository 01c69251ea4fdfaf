"""The public addresses. Include them under any prefix: `path("massmail/", include("massmail.urls"))`."""

from django.urls import path

app_name = "massmail"

urlpatterns: list = []
