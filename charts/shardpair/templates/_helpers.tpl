{{- define "shardpair.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- else -}}{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "shardpair.selector" -}}
app.kubernetes.io/name: shardpair
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "shardpair.labels" -}}
{{ include "shardpair.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "shardpair.serviceAccount" -}}
{{ default (include "shardpair.fullname" .) .Values.serviceAccount.name }}
{{- end -}}

{{- /* Another name: the operator's own selector must not find these pods. */ -}}
{{- define "shardpair.routeSelector" -}}
app.kubernetes.io/name: shardpair-route
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}
