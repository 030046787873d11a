"""The values of nginx's templates, computed from a site's merged entry; one module per part of the server block."""
