"""The log on NATS JetStream: durable, and shared by any number of gateway nodes."""
