"""The public addresses. Include them under any prefix: `path("massmail/", include("massmail.urls"))`."""

from django.urls import path

from massmail.views import Unsubscribe, unsubscribe_script

app_name = "massmail"

# Short, since the whole link must stay within 77 characters: see `massmail.tokens.unsubscribe_link`.
urlpatterns = [
    path("u/<token>/", Unsubscribe.as_view(), name="unsubscribe"),
    path("u.js", unsubscribe_script, name="unsubscribe_script"),
]
