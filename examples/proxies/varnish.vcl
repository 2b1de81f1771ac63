# Varnish 7 in front of a gateway on port 8080; its WebSockets of MQTT may be silent for an
# hour with the last setting:
#   varnishd -F -n /tmp/watchtower-proxy -f "$PWD/varnish.vcl" -a 127.0.0.1:8000 -p pipe_timeout=3600
# The gateway has --http-trusted-proxies 127.0.0.1.
vcl 4.1;

backend gateway {
	.host = "127.0.0.1";
	.port = "8080";
}

# No answer here can be cached. With pass the gateway would notice only at the third write
# that a client has left.
sub vcl_recv {
	return (pipe);
}

# Varnish takes Upgrade away, and has other connections closed after one request, so that
# each carries the X-Forwarded-For that Varnish wrote.
sub vcl_pipe {
	if (req.http.Upgrade) {
		set bereq.http.Upgrade = req.http.Upgrade;
		set bereq.http.Connection = req.http.Connection;
	}
}
