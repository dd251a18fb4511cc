"""Sockets and pipes: what joins the other rooms."""
