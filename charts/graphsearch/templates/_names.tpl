{{/* Names, labels and images that several templates share. What a template makes of them it quotes: a release may be called
123 and a namespace on, which YAML does not take for strings. */}}

{{- define "graphsearch.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Cluster-wide objects carry the namespace too, so that one release name may be used in two namespaces. The colon, which
neither part may hold, keeps release c in a-b apart from release b-c in a. */}}
{{- define "graphsearch.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "graphsearch.fullname" .) -}}
{{- end -}}

{{/* As the operator names it. */}}
{{- define "graphsearch.lease" -}}
{{- printf "graphsearch-%s" (.Values.controllerName | default "default") -}}
{{- end -}}

{{- define "graphsearch.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "graphsearch.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "graphsearch.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* What tells the metrics of this release's operator from those of others: two may share a namespace. Kubernetes cuts the
names of pods whose Deployment has a long one. */}}
{{- define "graphsearch.installMatchers" -}}
{{- $pods := printf "%s-[a-z0-9]+(-[a-z0-9]+)?" (include "graphsearch.fullname" . | replace "." "[.]") -}}
{{- printf "namespace=%s,pod=~%s" (quote .Release.Namespace) (quote $pods) -}}
{{- end -}}

{{- define "graphsearch.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: graphsearch
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{/* Call with a dict: image (the values) and version. */}}
{{- define "graphsearch.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .version) -}}
{{- end -}}
{{- end -}}

{{/* The namespaces of a namespaced install, as a JSON list. */}}
{{- define "graphsearch.namespaces" -}}
{{- .Values.namespaced.namespaces | default (list .Release.Namespace) | toJson -}}
{{- end -}}

{{/* What pod security calls restricted, for a container. */}}
{{- define "graphsearch.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "graphsearch.restrictedPod" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* The files that the operator shows Prometheus, as sources of one projected volume; empty where it needs none. */}}
{{- define "graphsearch.prometheusFiles" -}}
{{- with .Values.prometheus.tokenSecret }}
{{- if .name }}
- secret:
    name: {{ .name | quote }}
    items: [{key: {{ .key | quote }}, path: token}]
{{- end }}
{{- end }}
{{- with .Values.prometheus.basicAuthSecret }}
{{- if .name }}
- secret:
    name: {{ .name | quote }}
    items: [{key: {{ .usernameKey | quote }}, path: username}, {key: {{ .passwordKey | quote }}, path: password}]
{{- end }}
{{- end }}
{{- with .Values.prometheus.ca }}
{{- if .configMapName }}
- configMap:
    name: {{ .configMapName | quote }}
    items: [{key: {{ .key | quote }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- end -}}
