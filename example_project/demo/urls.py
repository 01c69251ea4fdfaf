from django.conf import settings
from django.templatetags.static import static
from django.urls import path
from django.views.generic import RedirectView

from example_project.demo import views

if settings.DEMO:
    urlpatterns = [
        path("", views.start, name="demo-start"),
        path("inbox/", views.inbox, name="demo-inbox"),
        path("inbox/<int:number>/", views.mail, name="demo-mail"),
        path("inbox/<int:number>/html/", views.mail_html, name="demo-mail-html"),
        path("inbox/<int:number>/source/", views.mail_source, name="demo-mail-source"),
        path("favicon.ico", RedirectView.as_view(url=static("demo/icon.svg"))),
        path("company/unsubscribed/", views.unsubscribed, name="demo-unsubscribed"),
    ]
else:
    urlpatterns = [path("", RedirectView.as_view(pattern_name="admin:index"))]
