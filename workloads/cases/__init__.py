"""Case studies: services as people build them, each a workload, beside the suite that runs it as CP and as AP."""
