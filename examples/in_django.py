"""A Django site with a WebSocket client in its serving process: the settings, a handler and the health page."""

import os

from django.urls import include, path

from wsnova_statsd.contrib.django import on_message

SECRET_KEY = "for this example"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "in_django"
INSTALLED_APPS = ["wsnova_statsd.contrib.django"]
WSNOVA_STATSD_CLIENTS = {"md-1": os.environ["FEED_URL"]}
WSNOVA_STATSD_PROFILE = "financial"
urlpatterns = [path("health/", include("wsnova_statsd.contrib.django.urls"))]


@on_message("md-1")
def store(message):
    print("stored", message["n"], flush=True)
