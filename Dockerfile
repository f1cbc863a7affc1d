# Debunk in a container. It needs a PostgreSQL of its own: set DEBUNK_DATABASE__URL (or DEBUNK_DATABASE__URL_FILE).
#
#   docker build -t debunk .

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
# The caches stay on the builder; the binary is taken out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin debunk && cp target/release/debunk /debunk

FROM debian:bookworm-slim
# Webhooks over https need the usual certificates.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --no-create-home --shell /usr/sbin/nologin debunk
COPY --from=build /debunk /usr/local/bin/debunk
USER debunk
# A container is reached from outside itself. Nothing asks for credentials yet, so binding beyond loopback takes
# explicit consent, given here: publish these ports only where you would publish your traces.
ENV DEBUNK_OTLP__GRPC=0.0.0.0:4317 \
    DEBUNK_OTLP__HTTP=0.0.0.0:4318 \
    DEBUNK_SERVER__LISTEN=0.0.0.0:4320 \
    DEBUNK_SERVER__ALLOW_INSECURE=true
EXPOSE 4317 4318 4320
# Alive and with its database: the shell of the image is enough to ask.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/4320 && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["debunk"]
CMD ["serve"]
