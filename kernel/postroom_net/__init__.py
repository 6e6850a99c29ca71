"""Network pieces every service shares: lines, SASL, logins and their throttle, TLS contexts, a resolver. Knows no mail and no hook."""
