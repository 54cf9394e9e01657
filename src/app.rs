//! Builds adapters from settings, hands them to the engine, starts the server.
