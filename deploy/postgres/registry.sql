-- A database of its own for the schema registry, made when the server is first started.
CREATE DATABASE registry;
