"""What nginx's templates print of a site, worked out from its merged entry; one module a part of the server block."""
