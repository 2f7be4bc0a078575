# An image that runs binmon as an account of its own and writes nowhere but to /var/lib/binmon: docs/docker.md.

FROM python:3.13-slim-bookworm AS build
WORKDIR /source
RUN python -m venv /opt/binmon
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY binmon ./binmon
RUN /opt/binmon/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
# Every dependency comes as a wheel: nothing is compiled. What only installs stays out of the image.
RUN /opt/binmon/bin/pip install --no-cache-dir --only-binary=:all: /wheels/*.whl \
    && /opt/binmon/bin/pip uninstall --yes pip

FROM python:3.13-slim-bookworm
# A number that does not change: files of the volume belong to it.
RUN groupadd --gid 10001 binmon \
    && useradd --uid 10001 --gid binmon --home-dir /var/lib/binmon --no-create-home --shell /usr/sbin/nologin binmon \
    && install --directory --owner=binmon --group=binmon --mode=0750 /var/lib/binmon
COPY --from=build /opt/binmon /opt/binmon
COPY docs/docker/config.yaml /etc/binmon/config.yaml
ENV PATH=/opt/binmon/bin:/usr/local/bin:/usr/bin:/bin
# Relative paths of the configuration (recorder.directory, state.path) begin here.
WORKDIR /var/lib/binmon
VOLUME ["/var/lib/binmon"]
# the account binmon, as a number: so that who runs it can prove that it is not root
USER 10001:10001
EXPOSE 9787
STOPSIGNAL SIGTERM
# Not urllib, which would ask a proxy of the environment. Books of a whole market take minutes, hence the start period.
HEALTHCHECK --interval=30s --timeout=5s --start-period=180s --retries=3 \
    CMD ["/opt/binmon/bin/python", "-c", "import http.client, sys; daemon = http.client.HTTPConnection('127.0.0.1', 9787, timeout=4); daemon.request('GET', '/healthz'); sys.exit(daemon.getresponse().status != 200)"]
# No shell between: binmon is process 1, and the signals of a stop and of a reload reach it.
ENTRYPOINT ["/opt/binmon/bin/binmon"]
CMD ["run", "-c", "/etc/binmon/config.yaml", "--log-format", "json"]
