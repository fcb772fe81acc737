"""Where nodes live: namespaces, docker, ssh; and the firewall between them."""
