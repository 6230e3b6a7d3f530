"""The Grafana dashboard as code. It is written once, by `make generate`, into the file that every stack ships."""
