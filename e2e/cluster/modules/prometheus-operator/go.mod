// Nothing is built of it: the kinds that the chart's PodMonitor and PrometheusRule must fit lie in its example/ folder.
module graphsearch.io/e2e/prometheus-operator

go 1.24

require github.com/prometheus-operator/prometheus-operator v0.85.0
