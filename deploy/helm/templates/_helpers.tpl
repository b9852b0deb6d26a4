{{- define "jitgate.name" -}}
{{- if contains "jitgate" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-jitgate" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "jitgate.selector" -}}
app.kubernetes.io/name: jitgate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "jitgate.labels" -}}
{{ include "jitgate.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "jitgate.port" -}}
{{ regexFind "[0-9]+$" . | int }}
{{- end }}

{{- define "jitgate.host" -}}
{{ get (urlParse .) "host" | regexFind "^[^:]+" }}
{{- end }}
