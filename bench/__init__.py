"""One command per question, each answered beside a peer from the distribution's packages in the same run. README.md lists them."""
