# leverd in a container: the program, certificates to reach a Postgres over TLS, and nothing else of its own. Needs
# BuildKit, which docker has had by default since 23.0 (before: DOCKER_BUILDKIT=1).

ARG RUST=1.95
ARG DEBIAN=bookworm

FROM rust:${RUST}-slim-${DEBIAN} AS build
WORKDIR /src
# cargo reads the tests' place from Cargo.toml; the scenarios and the services' files are built into the program.
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY config config
COPY packaging packaging
COPY tests/integration/main.rs tests/integration/main.rs
# The caches stay with the builder and are no part of the image, so the program is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked && cp target/release/leverd /leverd

FROM debian:${DEBIAN}-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    # A number of its own, far from people's; the group's is the same.
    && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/leverd --shell /usr/sbin/nologin leverd \
    && install -d -o leverd -g leverd /var/lib/leverd
COPY --from=build /leverd /usr/bin/leverd
# To start from: mount your own folder over it, with a leverd.yaml that says `root: /var/lib/leverd`.
COPY config/leverd.yaml config/levers.yaml /etc/leverd/
COPY config/scenarios /etc/leverd/scenarios
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/leverd/

ARG VERSION=dev
LABEL org.opencontainers.image.title="leverd" \
      org.opencontainers.image.description="Keeps a PostgreSQL inside its service levels, one proven change at a time" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"

# It writes below its root alone, so the container's own file system may be read-only.
USER 10001:10001
WORKDIR /var/lib/leverd
ENV LEVERD_CONFIG=/etc/leverd/leverd.yaml
EXPOSE 9188
# It ends at SIGTERM, and waits for what it starts: it needs no init before it.
ENTRYPOINT ["/usr/bin/leverd"]
CMD ["run"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["/usr/bin/leverd", "health", "--url", "http://127.0.0.1:9188/healthz"]
