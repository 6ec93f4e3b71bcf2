"""A Flask site with a WebSocket client in its serving process: the configuration, a handler and the health page."""

import os

from flask import Flask, current_app

from wsnova_statsd.contrib.flask import WSNova, health

wsnova = WSNova()


def create_app():
    app = Flask(__name__)
    app.config["WSNOVA_STATSD_CLIENTS"] = {"md-1": os.environ["FEED_URL"]}
    app.config["WSNOVA_STATSD_PROFILE"] = "financial"
    wsnova.init_app(app)
    app.register_blueprint(health)
    return app


@wsnova.on_message("md-1")
def store(message):
    print("stored", message["n"], "in", current_app.name, flush=True)
