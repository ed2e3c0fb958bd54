# syntax=docker/dockerfile:1
# Annals as an image: built in one stage, run in another that holds the binary, two libraries and an
# account of its own. PostgreSQL and ClickHouse are other containers (compose.yaml).

FROM rust:1.95.0-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends cmake g++ make pkg-config zlib1g-dev libssl-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --profile dist --locked --package annals \
 && cp target/dist/annals /usr/local/bin/annals

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10113 --home-dir /var/lib/annals --create-home annals
COPY --from=build /usr/local/bin/annals /usr/local/bin/annals
USER annals
WORKDIR /var/lib/annals
VOLUME /var/lib/annals
EXPOSE 2113
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/annals"]
CMD ["--help"]
