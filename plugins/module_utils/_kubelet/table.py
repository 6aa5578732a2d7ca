# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What the kubelet of each minor knows about its configuration. Generated; see tools/kubelet_types/generate.py.

PRIVATE: this module util is for this collection only and may change without notice.

A line is a name and what it was from which minor on: `name A 33:B 36:-` is A up to 32, B in 33 to 35, gone from 36.
FIELDS: `Type.field` and its type (`?T` pointer, `[]T` list, `{}T` map from strings), from 34 on those of kubeadm
and kube-proxy, too. DEFAULTS: JSON. GATES: a alpha, b beta,
g stable, d deprecated, p not settable; upper case: locked; `+`: on by default. DEPENDENCIES: the gates without which one
cannot be on. FLAGS: the field that a flag sets.
OPTIONS: policy options of the cpu and topology managers, with a, b, g as for gates.
"""

from __future__ import annotations

RELEASES = (
    "1.28.15",
    "1.29.6",
    "1.30.14",
    "1.31.0",
    "1.32.2",
    "1.33.13",
    "1.34.4",
    "1.35.4",
    "1.36.3",
)

FIELDS = """\
APIEndpoint.advertiseAddress 34:string
APIEndpoint.bindPort 34:int32
APIServer.certSANs 34:[]string
APIServer.extraArgs 34:[]Arg
APIServer.extraEnvs 34:[]EnvVar
APIServer.extraVolumes 34:[]HostPathMount
Arg.name 34:string
Arg.value 34:string
BootstrapToken.description 34:string
BootstrapToken.expires 34:?time
BootstrapToken.groups 34:[]string
BootstrapToken.token 34:?string
BootstrapToken.ttl 34:?duration
BootstrapToken.usages 34:[]string
BootstrapTokenDiscovery.apiServerEndpoint 34:string
BootstrapTokenDiscovery.caCertHashes 34:[]string
BootstrapTokenDiscovery.token 34:string
BootstrapTokenDiscovery.unsafeSkipCAVerification 34:bool
ClientConnectionConfiguration.acceptContentTypes 34:string
ClientConnectionConfiguration.burst 34:int32
ClientConnectionConfiguration.contentType 34:string
ClientConnectionConfiguration.kubeconfig 34:string
ClientConnectionConfiguration.qps 34:float64
ClusterConfiguration.apiServer 34:APIServer
ClusterConfiguration.apiVersion 34:string
ClusterConfiguration.caCertificateValidityPeriod 34:?duration
ClusterConfiguration.certificateValidityPeriod 34:?duration
ClusterConfiguration.certificatesDir 34:string
ClusterConfiguration.clusterName 34:string
ClusterConfiguration.controlPlaneEndpoint 34:string
ClusterConfiguration.controllerManager 34:ControlPlaneComponent
ClusterConfiguration.dns 34:DNS
ClusterConfiguration.encryptionAlgorithm 34:string
ClusterConfiguration.etcd 34:Etcd
ClusterConfiguration.featureGates 34:{}bool
ClusterConfiguration.imageRepository 34:string
ClusterConfiguration.kind 34:string
ClusterConfiguration.kubernetesVersion 34:string
ClusterConfiguration.networking 34:Networking
ClusterConfiguration.proxy 34:Proxy
ClusterConfiguration.scheduler 34:ControlPlaneComponent
ConfigMapKeySelector.key 34:string
ConfigMapKeySelector.name 34:string
ConfigMapKeySelector.optional 34:?bool
ControlPlaneComponent.extraArgs 34:[]Arg
ControlPlaneComponent.extraEnvs 34:[]EnvVar
ControlPlaneComponent.extraVolumes 34:[]HostPathMount
CrashLoopBackOffConfig.maxContainerRestartPeriod 32:?duration
DNS.disabled 34:bool
DNS.imageRepository 34:string
DNS.imageTag 34:string
DetectLocalConfiguration.bridgeInterface 34:string
DetectLocalConfiguration.interfaceNamePrefix 34:string
Discovery.bootstrapToken 34:?BootstrapTokenDiscovery
Discovery.file 34:?FileDiscovery
Discovery.tlsBootstrapToken 34:string
EnvVar.name 34:string
EnvVar.value 34:string
EnvVar.valueFrom 34:?EnvVarSource
EnvVarSource.configMapKeyRef 34:?ConfigMapKeySelector
EnvVarSource.fieldRef 34:?ObjectFieldSelector
EnvVarSource.fileKeyRef 34:?FileKeySelector
EnvVarSource.resourceFieldRef 34:?ResourceFieldSelector
EnvVarSource.secretKeyRef 34:?SecretKeySelector
Etcd.external 34:?ExternalEtcd
Etcd.local 34:?LocalEtcd
ExternalEtcd.caFile 34:string
ExternalEtcd.certFile 34:string
ExternalEtcd.endpoints 34:[]string
ExternalEtcd.httpEndpoints 35:[]string
ExternalEtcd.keyFile 34:string
FileDiscovery.kubeConfigPath 34:string
FileKeySelector.key 34:string
FileKeySelector.optional 34:?bool
FileKeySelector.path 34:string
FileKeySelector.volumeName 34:string
FormatOptions.json JSONOptions
FormatOptions.text 30:TextOptions
HostPathMount.hostPath 34:string
HostPathMount.mountPath 34:string
HostPathMount.name 34:string
HostPathMount.pathType 34:string
HostPathMount.readOnly 34:bool
InitConfiguration.apiVersion 34:string
InitConfiguration.bootstrapTokens 34:[]BootstrapToken
InitConfiguration.certificateKey 34:string
InitConfiguration.dryRun 34:bool
InitConfiguration.kind 34:string
InitConfiguration.localAPIEndpoint 34:APIEndpoint
InitConfiguration.nodeRegistration 34:NodeRegistrationOptions
InitConfiguration.patches 34:?Patches
InitConfiguration.skipPhases 34:[]string
InitConfiguration.timeouts 34:?Timeouts
JSONOptions.infoBufferSize quantity
JSONOptions.splitStream bool
JoinConfiguration.apiVersion 34:string
JoinConfiguration.caCertPath 34:string
JoinConfiguration.controlPlane 34:?JoinControlPlane
JoinConfiguration.discovery 34:Discovery
JoinConfiguration.dryRun 34:bool
JoinConfiguration.kind 34:string
JoinConfiguration.nodeRegistration 34:NodeRegistrationOptions
JoinConfiguration.patches 34:?Patches
JoinConfiguration.skipPhases 34:[]string
JoinConfiguration.timeouts 34:?Timeouts
JoinControlPlane.certificateKey 34:string
JoinControlPlane.localAPIEndpoint 34:APIEndpoint
KubeProxyConfiguration.apiVersion 34:string
KubeProxyConfiguration.bindAddress 34:string
KubeProxyConfiguration.bindAddressHardFail 34:bool
KubeProxyConfiguration.clientConnection 34:ClientConnectionConfiguration
KubeProxyConfiguration.clusterCIDR 34:string
KubeProxyConfiguration.configSyncPeriod 34:duration
KubeProxyConfiguration.conntrack 34:KubeProxyConntrackConfiguration
KubeProxyConfiguration.detectLocal 34:DetectLocalConfiguration
KubeProxyConfiguration.detectLocalMode 34:string
KubeProxyConfiguration.enableProfiling 34:bool
KubeProxyConfiguration.featureGates 34:{}bool
KubeProxyConfiguration.healthzBindAddress 34:string
KubeProxyConfiguration.hostnameOverride 34:string
KubeProxyConfiguration.iptables 34:KubeProxyIPTablesConfiguration
KubeProxyConfiguration.ipvs 34:KubeProxyIPVSConfiguration
KubeProxyConfiguration.kind 34:string
KubeProxyConfiguration.logging 34:LoggingConfiguration
KubeProxyConfiguration.metricsBindAddress 34:string
KubeProxyConfiguration.mode 34:string
KubeProxyConfiguration.nftables 34:KubeProxyNFTablesConfiguration
KubeProxyConfiguration.nodePortAddresses 34:[]string
KubeProxyConfiguration.oomScoreAdj 34:?int32
KubeProxyConfiguration.portRange 34:string
KubeProxyConfiguration.showHiddenMetricsForVersion 34:string
KubeProxyConfiguration.windowsRunAsService 34:bool
KubeProxyConfiguration.winkernel 34:KubeProxyWinkernelConfiguration
KubeProxyConntrackConfiguration.maxPerCore 34:?int32
KubeProxyConntrackConfiguration.min 34:?int32
KubeProxyConntrackConfiguration.tcpBeLiberal 34:bool
KubeProxyConntrackConfiguration.tcpCloseWaitTimeout 34:?duration
KubeProxyConntrackConfiguration.tcpEstablishedTimeout 34:?duration
KubeProxyConntrackConfiguration.udpStreamTimeout 34:duration
KubeProxyConntrackConfiguration.udpTimeout 34:duration
KubeProxyIPTablesConfiguration.localhostNodePorts 34:?bool
KubeProxyIPTablesConfiguration.masqueradeAll 34:bool
KubeProxyIPTablesConfiguration.masqueradeBit 34:?int32
KubeProxyIPTablesConfiguration.minSyncPeriod 34:duration
KubeProxyIPTablesConfiguration.syncPeriod 34:duration
KubeProxyIPVSConfiguration.excludeCIDRs 34:[]string
KubeProxyIPVSConfiguration.minSyncPeriod 34:duration
KubeProxyIPVSConfiguration.scheduler 34:string
KubeProxyIPVSConfiguration.strictARP 34:bool
KubeProxyIPVSConfiguration.syncPeriod 34:duration
KubeProxyIPVSConfiguration.tcpFinTimeout 34:duration
KubeProxyIPVSConfiguration.tcpTimeout 34:duration
KubeProxyIPVSConfiguration.udpTimeout 34:duration
KubeProxyNFTablesConfiguration.masqueradeAll 34:bool
KubeProxyNFTablesConfiguration.masqueradeBit 34:?int32
KubeProxyNFTablesConfiguration.minSyncPeriod 34:duration
KubeProxyNFTablesConfiguration.syncPeriod 34:duration
KubeProxyWinkernelConfiguration.enableDSR 34:bool
KubeProxyWinkernelConfiguration.forwardHealthCheckVip 34:bool
KubeProxyWinkernelConfiguration.networkName 34:string
KubeProxyWinkernelConfiguration.rootHnsEndpointName 34:string
KubeProxyWinkernelConfiguration.sourceVip 34:string
KubeletAnonymousAuthentication.enabled ?bool
KubeletAuthentication.anonymous KubeletAnonymousAuthentication
KubeletAuthentication.webhook KubeletWebhookAuthentication
KubeletAuthentication.x509 KubeletX509Authentication
KubeletAuthorization.mode string
KubeletAuthorization.webhook KubeletWebhookAuthorization
KubeletConfiguration.address string
KubeletConfiguration.allowedUnsafeSysctls []string
KubeletConfiguration.apiVersion string
KubeletConfiguration.authentication KubeletAuthentication
KubeletConfiguration.authorization KubeletAuthorization
KubeletConfiguration.cgroupDriver string
KubeletConfiguration.cgroupRoot string
KubeletConfiguration.cgroupsPerQOS ?bool
KubeletConfiguration.clusterDNS []string
KubeletConfiguration.clusterDomain string
KubeletConfiguration.configMapAndSecretChangeDetectionStrategy string
KubeletConfiguration.containerLogMaxFiles ?int32
KubeletConfiguration.containerLogMaxSize string
KubeletConfiguration.containerLogMaxWorkers 30:?int32
KubeletConfiguration.containerLogMonitorInterval 30:?duration
KubeletConfiguration.containerRuntimeEndpoint string
KubeletConfiguration.contentType string
KubeletConfiguration.cpuCFSQuota ?bool
KubeletConfiguration.cpuCFSQuotaPeriod ?duration
KubeletConfiguration.cpuManagerPolicy string
KubeletConfiguration.cpuManagerPolicyOptions {}string
KubeletConfiguration.cpuManagerReconcilePeriod duration
KubeletConfiguration.crashLoopBackOff 32:CrashLoopBackOffConfig
KubeletConfiguration.enableContentionProfiling bool
KubeletConfiguration.enableControllerAttachDetach ?bool
KubeletConfiguration.enableDebugFlagsHandler ?bool
KubeletConfiguration.enableDebuggingHandlers ?bool
KubeletConfiguration.enableProfilingHandler ?bool
KubeletConfiguration.enableServer ?bool
KubeletConfiguration.enableSystemLogHandler ?bool
KubeletConfiguration.enableSystemLogQuery ?bool
KubeletConfiguration.enforceNodeAllocatable []string
KubeletConfiguration.eventBurst int32
KubeletConfiguration.eventRecordQPS ?int32
KubeletConfiguration.evictionHard {}string
KubeletConfiguration.evictionMaxPodGracePeriod int32
KubeletConfiguration.evictionMinimumReclaim {}string
KubeletConfiguration.evictionPressureTransitionPeriod duration
KubeletConfiguration.evictionSoft {}string
KubeletConfiguration.evictionSoftGracePeriod {}string
KubeletConfiguration.failCgroupV1 31:?bool
KubeletConfiguration.failSwapOn ?bool
KubeletConfiguration.featureGates {}bool
KubeletConfiguration.fileCheckFrequency duration
KubeletConfiguration.hairpinMode string
KubeletConfiguration.healthzBindAddress string
KubeletConfiguration.healthzPort ?int32
KubeletConfiguration.httpCheckFrequency duration
KubeletConfiguration.imageGCHighThresholdPercent ?int32
KubeletConfiguration.imageGCLowThresholdPercent ?int32
KubeletConfiguration.imageMaximumGCAge 29:duration
KubeletConfiguration.imageMinimumGCAge duration
KubeletConfiguration.imagePullCredentialsVerificationPolicy 33:string
KubeletConfiguration.imageServiceEndpoint string
KubeletConfiguration.iptablesDropBit ?int32
KubeletConfiguration.iptablesMasqueradeBit ?int32
KubeletConfiguration.kernelMemcgNotification bool
KubeletConfiguration.kind string
KubeletConfiguration.kubeAPIBurst int32
KubeletConfiguration.kubeAPIQPS ?int32
KubeletConfiguration.kubeReserved {}string
KubeletConfiguration.kubeReservedCgroup string
KubeletConfiguration.kubeletCgroups string
KubeletConfiguration.localStorageCapacityIsolation ?bool
KubeletConfiguration.logging LoggingConfiguration
KubeletConfiguration.makeIPTablesUtilChains ?bool
KubeletConfiguration.maxOpenFiles int64
KubeletConfiguration.maxParallelImagePulls ?int32
KubeletConfiguration.maxPods int32
KubeletConfiguration.memoryManagerPolicy string
KubeletConfiguration.memoryReservationPolicy 36:string
KubeletConfiguration.memorySwap MemorySwapConfiguration
KubeletConfiguration.memoryThrottlingFactor ?float64
KubeletConfiguration.mergeDefaultEvictionSettings 33:?bool
KubeletConfiguration.nodeLeaseDurationSeconds int32
KubeletConfiguration.nodeStatusMaxImages ?int32
KubeletConfiguration.nodeStatusReportFrequency duration
KubeletConfiguration.nodeStatusUpdateFrequency duration
KubeletConfiguration.oomScoreAdj ?int32
KubeletConfiguration.podCIDR string
KubeletConfiguration.podLogsDir 30:string
KubeletConfiguration.podPidsLimit ?int64
KubeletConfiguration.podsPerCore int32
KubeletConfiguration.port int32
KubeletConfiguration.preloadedImagesVerificationAllowlist 33:[]string
KubeletConfiguration.protectKernelDefaults bool
KubeletConfiguration.providerID string
KubeletConfiguration.qosReserved {}string
KubeletConfiguration.readOnlyPort int32
KubeletConfiguration.registerNode ?bool
KubeletConfiguration.registerWithTaints []Taint
KubeletConfiguration.registryBurst int32
KubeletConfiguration.registryPullQPS ?int32
KubeletConfiguration.reservedMemory []MemoryReservation
KubeletConfiguration.reservedSystemCPUs string
KubeletConfiguration.resolvConf ?string
KubeletConfiguration.rotateCertificates bool
KubeletConfiguration.runOnce bool
KubeletConfiguration.runtimeRequestTimeout duration
KubeletConfiguration.seccompDefault ?bool
KubeletConfiguration.serializeImagePulls ?bool
KubeletConfiguration.serverTLSBootstrap bool
KubeletConfiguration.showHiddenMetricsForVersion string
KubeletConfiguration.shutdownGracePeriod duration
KubeletConfiguration.shutdownGracePeriodByPodPriority []ShutdownGracePeriodByPodPriority
KubeletConfiguration.shutdownGracePeriodCriticalPods duration
KubeletConfiguration.singleProcessOOMKill 32:?bool
KubeletConfiguration.staticPodPath string
KubeletConfiguration.staticPodURL string
KubeletConfiguration.staticPodURLHeader {}[]string
KubeletConfiguration.streamingConnectionIdleTimeout duration
KubeletConfiguration.syncFrequency duration
KubeletConfiguration.systemCgroups string
KubeletConfiguration.systemReserved {}string
KubeletConfiguration.systemReservedCgroup string
KubeletConfiguration.tlsCertFile string
KubeletConfiguration.tlsCipherSuites []string
KubeletConfiguration.tlsCurvePreferences 36:[]int32
KubeletConfiguration.tlsMinVersion string
KubeletConfiguration.tlsPrivateKeyFile string
KubeletConfiguration.topologyManagerPolicy string
KubeletConfiguration.topologyManagerPolicyOptions {}string
KubeletConfiguration.topologyManagerScope string
KubeletConfiguration.tracing ?TracingConfiguration
KubeletConfiguration.userNamespaces 33:?UserNamespaces
KubeletConfiguration.volumePluginDir string
KubeletConfiguration.volumeStatsAggPeriod duration
KubeletWebhookAuthentication.cacheTTL duration
KubeletWebhookAuthentication.enabled ?bool
KubeletWebhookAuthorization.cacheAuthorizedTTL duration
KubeletWebhookAuthorization.cacheUnauthorizedTTL duration
KubeletX509Authentication.clientCAFile string
LocalEtcd.dataDir 34:string
LocalEtcd.extraArgs 34:[]Arg
LocalEtcd.extraEnvs 34:[]EnvVar
LocalEtcd.imageRepository 34:string
LocalEtcd.imageTag 34:string
LocalEtcd.peerCertSANs 34:[]string
LocalEtcd.serverCertSANs 34:[]string
LoggingConfiguration.flushFrequency duration
LoggingConfiguration.format string
LoggingConfiguration.options FormatOptions
LoggingConfiguration.verbosity uint32
LoggingConfiguration.vmodule []VModuleItem
MemoryReservation.limits {}quantity
MemoryReservation.numaNode int32
MemorySwapConfiguration.swapBehavior string
Networking.dnsDomain 34:string
Networking.podSubnet 34:string
Networking.serviceSubnet 34:string
NodeRegistrationOptions.criSocket 34:string
NodeRegistrationOptions.ignorePreflightErrors 34:[]string
NodeRegistrationOptions.imagePullPolicy 34:string
NodeRegistrationOptions.imagePullSerial 34:?bool
NodeRegistrationOptions.kubeletExtraArgs 34:[]Arg
NodeRegistrationOptions.name 34:string
NodeRegistrationOptions.taints 34:[]Taint
ObjectFieldSelector.apiVersion 34:string
ObjectFieldSelector.fieldPath 34:string
Patches.directory 34:string
Proxy.disabled 34:bool
ResourceFieldSelector.containerName 34:string
ResourceFieldSelector.divisor 34:quantity
ResourceFieldSelector.resource 34:string
SecretKeySelector.key 34:string
SecretKeySelector.name 34:string
SecretKeySelector.optional 34:?bool
ShutdownGracePeriodByPodPriority.priority int32
ShutdownGracePeriodByPodPriority.shutdownGracePeriodSeconds int64
Taint.effect string
Taint.key string
Taint.timeAdded ?time
Taint.value string
TextOptions.infoBufferSize 30:quantity
TextOptions.splitStream 30:bool
Timeouts.controlPlaneComponentHealthCheck 34:?duration
Timeouts.discovery 34:?duration
Timeouts.etcdAPICall 34:?duration
Timeouts.kubeletHealthCheck 34:?duration
Timeouts.kubernetesAPICall 34:?duration
Timeouts.tlsBootstrap 34:?duration
Timeouts.upgradeManifests 34:?duration
TracingConfiguration.endpoint ?string
TracingConfiguration.samplingRatePerMillion ?int32
UserNamespaces.idsPerPod 33:?int64
VModuleItem.filePattern string
VModuleItem.verbosity uint32
"""

DEFAULTS = """\
address "0.0.0.0"
authentication {"anonymous":{"enabled":false},"webhook":{"cacheTTL":"2m0s","enabled":true},"x509":{}}
authorization {"mode":"Webhook","webhook":{"cacheAuthorizedTTL":"5m0s","cacheUnauthorizedTTL":"30s"}}
cgroupDriver "cgroupfs"
cgroupsPerQOS true
configMapAndSecretChangeDetectionStrategy "Watch"
containerLogMaxFiles 5
containerLogMaxSize "10Mi"
containerLogMaxWorkers 30:1
containerLogMonitorInterval 30:"10s"
containerRuntimeEndpoint "unix:///run/containerd/containerd.sock"
contentType "application/vnd.kubernetes.protobuf"
cpuCFSQuota true
cpuCFSQuotaPeriod "100ms"
cpuManagerPolicy "none"
cpuManagerReconcilePeriod "10s"
crashLoopBackOff 32:{} 35:{"maxContainerRestartPeriod":"5m0s"}
enableControllerAttachDetach true
enableDebugFlagsHandler true
enableDebuggingHandlers true
enableProfilingHandler true
enableServer true
enableSystemLogHandler true
enforceNodeAllocatable ["pods"]
eventBurst 100
eventRecordQPS 50
evictionPressureTransitionPeriod "5m0s"
failCgroupV1 31:false 35:true
failSwapOn true
fileCheckFrequency "20s"
hairpinMode "promiscuous-bridge"
healthzBindAddress "127.0.0.1"
healthzPort 10248
httpCheckFrequency "20s"
imageGCHighThresholdPercent 85
imageGCLowThresholdPercent 80
imageMaximumGCAge 29:"0s"
imageMinimumGCAge "2m0s"
imagePullCredentialsVerificationPolicy 35:"NeverVerifyPreloadedImages"
iptablesDropBit 15
iptablesMasqueradeBit 14
kubeAPIBurst 100
kubeAPIQPS 50
localStorageCapacityIsolation true
logging \
{"flushFrequency":"5s","format":"text","options":{"json":{"infoBufferSize":"0"}},"verbosity":0} \
30:{"flushFrequency":"5s","format":"text","options":{"json":{"infoBufferSize":"0"},"text":{"infoBufferSize":"0"}},"verbosity":0}
makeIPTablesUtilChains true
maxOpenFiles 1000000
maxPods 110
memoryManagerPolicy "None"
memoryReservationPolicy 36:"None"
memorySwap {}
memoryThrottlingFactor 0.9
mergeDefaultEvictionSettings 33:false
nodeLeaseDurationSeconds 40
nodeStatusMaxImages 50
nodeStatusReportFrequency "5m0s"
nodeStatusUpdateFrequency "10s"
oomScoreAdj -999
podLogsDir 30:"/var/log/pods"
podPidsLimit -1
port 10250
registerNode true
registryBurst 10
registryPullQPS 5
resolvConf "/etc/resolv.conf"
runtimeRequestTimeout "2m0s"
seccompDefault false
serializeImagePulls true
shutdownGracePeriod "0s"
shutdownGracePeriodCriticalPods "0s"
streamingConnectionIdleTimeout "4h0m0s"
syncFrequency "1m0s"
topologyManagerPolicy "none"
topologyManagerScope "container"
volumePluginDir "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/"
volumeStatsAggPeriod "1m0s"
"""

GATES = """\
APIListChunking b+ 29:G+ 33:-
APIPriorityAndFairness b+ 29:G+ 31:-
APIResponseCompression b+
APISelfSubjectReview G+ 30:-
APIServerIdentity b+
APIServerTracing b+ 34:G+
APIServingWithRoutine 30:a
AdmissionWebhookMatchConditions b+ 30:G+ 33:-
AggregatedDiscoveryEndpoint b+ 30:G+ 33:-
AggregatedDiscoveryRemoveBetaType 33:d+ 35:D+
AllAlpha a
AllBeta b
AllowDNSOnlyNodeCSR 31:d
AllowInsecureKubeletCertificateSigningRequests 31:d
AllowOverwriteTerminationGracePeriodSeconds 32:d 35:D
AllowParsingUserUIDFromCertAuth 33:b+
AllowServiceExternalIPs 36:g+
AllowServiceLBStatusOnNonLB 29:d 32:D 35:-
AllowUnsafeMalformedObjectDeletion 32:a
AnonymousAuthConfigurableEndpoints 31:a 32:b+ 34:G+
AnyVolumeDataSource b+ 33:G+
AppArmor b+ 31:G+ 33:-
AppArmorFields 30:b+ 31:G+ 33:-
AtomicFIFO 36:b+
AuthorizeNodeWithSelectors 31:a 32:b+ 34:G+
AuthorizePodWebsocketUpgradeCreatePermission 35:b+
AuthorizeWithSelectors 31:a 32:b+ 34:G+
BtreeWatchCache 32:b+ 33:G+
CBORServingAndStorage 32:a
CPUManager G+ 33:-
CPUManagerPolicyAlphaOptions a
CPUManagerPolicyBetaOptions b+
CPUManagerPolicyOptions b+ 33:G+
CRDObservedGenerationTracking 35:b 36:b+
CRDValidationRatcheting a 30:b+ 33:G+
CRIListStreaming 36:a
CSIMigrationAzureFile G+ 30:-
CSIMigrationPortworx b 31:b+ 33:G+ 36:-
CSIMigrationRBD d 31:-
CSIMigrationvSphere G+ 29:-
CSINodeExpandSecret b+ 29:G+ 31:-
CSIServiceAccountTokenSecrets 35:b+ 36:G+
CSIVolumeHealth a
ChangeContainerStatusOnKubeletRestart 35:d
ClearingNominatedNodeNameAfterBinding 34:a 35:b+
ClientsAllowCARotation 36:b+
ClientsAllowCBOR 32:a
ClientsAllowTLSCacheGC 36:b+
ClientsPreferCBOR 32:a
CloudControllerManagerWatchBasedRoutesReconciliation 35:a
CloudControllerManagerWebhook a
CloudDualStackNodeIPs a 29:b+ 30:G+ 32:-
ClusterTrustBundle a 33:b
ClusterTrustBundleProjection 29:a 33:b
ComponentFlagz 32:a 36:b+
ComponentSLIs b+ 32:G+ 35:-
ComponentStatusz 32:a 36:b+
ConcurrentWatchObjectDecode 31:b
ConsistentHTTPGetHandlers g+ 30:G+ 31:-
ConsistentListFromCache a 31:b+ 34:G+
ConstrainedImpersonation 35:a 36:b+
ContainerCheckpoint a 30:b+
ContainerRestartRules 34:a 35:b+
ContainerStopSignals 33:a
ContextualLogging a 30:b+
ControllerManagerReleaseLeaderElectionLockOnExit 36:a
CoordinatedLeaderElection 31:a 33:b
CronJobTimeZone G+ 29:-
CronJobsScheduledAnnotation b+ 32:G+ 35:-
CrossNamespaceVolumeDataSource a
CustomCPUCFSQuotaPeriod a 36:g+
CustomResourceFieldSelectors 30:a 31:b+ 32:G+
CustomResourceValidationExpressions b+ 29:G+ 31:-
DRAAdminAccess 32:a 34:b+ 36:G+
DRAConsumableCapacity 34:a 36:b+
DRAControlPlaneController 31:a 32:-
DRADeviceBindingConditions 34:a 36:b+
DRADeviceTaintRules 35:a 36:b
DRADeviceTaints 33:a 36:b+
DRAExtendedResource 34:a 36:b+
DRAListTypeAttributes 36:a
DRANodeAllocatableResources 36:a
DRAPartitionableDevices 33:a 36:b+
DRAPrioritizedList 33:a 34:b+ 36:g+
DRAResourceClaimDeviceStatus 32:a 33:b+
DRAResourceClaimGranularStatusAuthorization 36:b+
DRAResourcePoolStatus 36:a
DRASchedulerFilterTimeout 34:b+
DRAWorkloadResourceClaims 36:a
DeclarativeValidation 33:b+ 36:G+
DeclarativeValidationBeta 36:b+
DeclarativeValidationTakeover 33:b 36:d
DefaultHostNetworkHostPortsInPodTemplates d 31:-
DeploymentReplicaSetTerminatingReplicas 33:a 35:b+
DetectCacheInconsistency 34:b+
DevicePluginCDIDevices a 29:b+ 31:G+ 34:-
DisableAllocatorDualWrite 31:a 33:b 34:g+ 35:G+
DisableCPUQuotaWithExclusiveCPUs 33:b+ 36:d+
DisableCloudProviders a 29:b+ 31:G+ 33:-
DisableKubeletCloudCredentialProviders a 29:b+ 31:G+ 33:-
DisableNodeKubeProxyVersion 29:a 31:b+ 32:d 33:d+ 36:D+
DownwardAPIHugePages G+ 29:-
DynamicResourceAllocation a 32:b 34:g+ 35:G+
EfficientWatchResumption G+ 33:-
ElasticIndexedJob b+ 31:G+ 34:-
EnvFiles 34:a 35:b+
EventedPLEG a
ExecProbeTimeout g+ 35:G+
ExpandedDNSConfig G+ 30:-
ExperimentalHostUserNamespaceDefaulting D 30:-
ExtendWebSocketsToKubelet 36:b+
ExternalServiceAccountTokenSigner 32:a 34:b+ 36:G+
GRPCContainerProbe G+ 29:-
GangScheduling 35:a
GenericWorkload 35:a
GitRepoVolumeDriver 33:d 36:D
GracefulNodeShutdown b+
GracefulNodeShutdownBasedOnPodPriority b+
HPAConfigurableTolerance 33:a 35:b+
HPAContainerMetrics b+ 30:G+ 32:-
HPAScaleToZero a
HonorPVReclaimPolicy a 31:b+ 33:G+ 36:-
HostnameOverride 34:a 35:b+
IPTablesOwnershipCleanup G+ 30:-
ImageMaximumGCAge 29:a 30:b+ 35:G+
ImageVolume 31:a 33:b 35:b+ 36:G+
ImageVolumeWithDigest 36:a
InOrderInformers 33:b+ 36:G+
InOrderInformersBatchProcess 35:b+
InPlacePodLevelResourcesVerticalScaling 35:a 36:b+
InPlacePodVerticalScaling a 33:b+ 35:G+
InPlacePodVerticalScalingAllocatedStatus 32:a 33:d 36:-
InPlacePodVerticalScalingExclusiveCPUs 32:a
InPlacePodVerticalScalingExclusiveMemory 34:a
InPlacePodVerticalScalingInitContainers 36:b+
InTreePluginAWSUnregister a 31:-
InTreePluginAzureDiskUnregister a 31:-
InTreePluginAzureFileUnregister a 31:-
InTreePluginGCEUnregister a 31:-
InTreePluginOpenStackUnregister a 31:-
InTreePluginPortworxUnregister a 36:-
InTreePluginRBDUnregister d 31:-
InTreePluginvSphereUnregister a 31:-
InformerResourceVersion 30:a 35:g+
JobBackoffLimitPerIndex a 29:b+ 33:G+
JobManagedBy 30:a 32:b+ 35:G+
JobMutableNodeSchedulingDirectives G+ 29:-
JobPodFailurePolicy b+ 31:G+ 33:-
JobPodReplacementPolicy a 29:b+ 34:G+
JobReadyPods b+ 29:G+ 31:-
JobSuccessPolicy 30:a 31:b+ 33:G+
JobTrackingWithFinalizers G+ 29:-
KMSv1 d+ 29:d
KMSv2 b+ 29:G+ 32:-
KMSv2KDF b 29:G+ 32:-
KubeProxyDrainingTerminatingNodes a 30:b+ 31:G+ 33:-
KubeletCgroupDriverFromCRI a 31:b+ 34:G+
KubeletCrashLoopBackOffMax 32:a 35:b+
KubeletEnsureSecretPulledImages 33:a 35:b+
KubeletFineGrainedAuthz 32:a 33:b+ 36:G+
KubeletInUserNamespace a
KubeletPSI 33:a 34:b+ 36:G+
KubeletPodResources G+ 30:-
KubeletPodResourcesDynamicResources a 34:b+ 36:G+
KubeletPodResourcesGet a 34:b+ 36:G+
KubeletPodResourcesGetAllocatable G+ 30:-
KubeletPodResourcesListUseActivePods 34:d+
KubeletRegistrationGetOnExistsOnly 32:d
KubeletSeparateDiskGC 29:a 31:b+
KubeletServiceAccountTokenForCredentialProviders 33:a 34:b+
KubeletTracing b+ 34:G+
LegacyServiceAccountTokenCleanUp a 29:b+ 30:G+ 32:-
LegacyServiceAccountTokenNoAutoGeneration G+ 29:-
LegacyServiceAccountTokenTracking G+ 30:-
LegacySidecarContainers 33:d 34:-
ListFromCacheSnapshot 33:a 34:b+
LoadBalancerIPMode 29:a 30:b+ 32:G+ 35:-
LocalStorageCapacityIsolationFSQuotaMonitoring a 31:b
LogarithmicScaleDown b+ 31:G+
LoggingAlphaOptions a
LoggingBetaOptions b+
ManifestBasedAdmissionControlConfig 36:a
MatchLabelKeysInPodAffinity 29:a 31:b+ 33:G+
MatchLabelKeysInPodTopologySpread b+
MatchLabelKeysInPodTopologySpreadSelectorMerge 34:b+
MaxUnavailableStatefulSet a 35:b
MemoryManager b+ 32:G+ 36:-
MemoryQoS a
MinDomainsInPodTopologySpread b+ 30:G+ 32:-
MinimizeIPTablesRestore G+ 30:-
MultiCIDRRangeAllocator a 29:-
MultiCIDRServiceAllocator a 31:b 33:g+ 34:G+
MutableCSINodeAllocatableCount 33:a 34:b 35:b+ 36:G+
MutablePVNodeAffinity 35:a
MutablePodResourcesForSuspendedJobs 35:a 36:b+
MutableSchedulingDirectivesForSuspendedJobs 35:a 36:b+
MutatingAdmissionPolicy 30:a 34:b 36:g+
NFTablesProxyMode 29:a 31:b+ 33:G+
NativeHistograms 36:a
NewVolumeManagerReconstruction b+ 30:G+ 32:-
NodeDeclaredFeatures 35:a 36:b+
NodeInclusionPolicyInPodTopologySpread b+ 33:G+
NodeLogQuery a 30:b 36:G+
NodeOutOfServiceVolumeDetach G+ 32:-
NodeSwap b 30:b+ 34:G+
NominatedNodeNameForExpectation 34:a 35:b+
OpenAPIEnums b+
OpenAPIV3 G+ 29:-
OpportunisticBatching 35:b+
OrderedNamespaceDeletion 30:b 31:- 33:b+ 34:G+
PDBUnhealthyPodEvictionPolicy b+ 31:G+ 33:-
PLEGOnDemandRelist 36:b+
PersistentVolumeClaimUnusedSinceTime 36:a
PersistentVolumeLastPhaseTransitionTime a 29:b+ 31:G+ 33:-
PodAndContainerStatsFromCRI a
PodCertificateRequest 34:a 35:b
PodDeletionCost b+
PodDisruptionConditions b+ 31:G+ 34:-
PodHostIPs a 29:b+ 30:G+ 32:-
PodIndexLabel b+ 32:G+ 35:-
PodLevelResourceManagers 36:a
PodLevelResources 32:a 34:b+
PodLifecycleSleepAction 29:a 30:b+ 34:G+
PodLifecycleSleepActionAllowZero 32:a 33:b+ 34:G+
PodLogsQuerySplitStreams 32:a
PodObservedGenerationTracking 33:a 34:b+ 35:G+
PodReadyToStartContainersCondition a 29:b+
PodSchedulingReadiness b+ 30:G+
PodTopologyLabelsAdmission 33:a 35:b+
PodsAPI 36:a
PortForwardWebsockets 30:a 31:b+
PreferSameTrafficDistribution 33:a 34:b+ 35:G+
PreventStaticPodAPIReferences 34:b+
ProbeHostPodSecurityStandards 34:G+ 35:-
ProbeTerminationGracePeriod G+ 29:-
ProcMountType a 31:b 33:b+ 36:G+
ProxyTerminatingEndpoints G+ 30:-
QOSReserved a
ReadWriteOncePod b+ 29:G+ 31:-
RecoverVolumeExpansionFailure a 32:b+ 34:G+
RecursiveReadOnlyMounts 30:a 31:b+ 33:G+
ReduceDefaultCrashLoopBackOffDecay 33:a
RelaxedDNSSearchValidation 32:a 33:b+ 34:G+
RelaxedEnvironmentVariableValidation 30:a 32:b+ 34:G+
RelaxedServiceNameValidation 34:a 36:b+
ReloadKubeletClientCAFile 36:b+
ReloadKubeletServerCertificateFile 31:b+
RemainingItemCount b+ 29:G+ 33:-
RemoteRequestHeaderUID 32:a 33:b+
RemoveSelfLink G+ 30:-
ResilientWatchCacheInitialization 31:b+ 34:G+
ResourceHealthStatus 31:a 36:b+
ResourceHealthStatusMessage 36:b+
RestartAllContainersOnContainerExits 35:a 36:b+
RetroactiveDefaultStorageClass G+ 29:-
RetryGenerateName 30:a 31:b+ 32:G+
RotateKubeletServerCertificate b+
RuntimeClassInImageCriApi 29:a
SELinuxChangePolicy 32:a 33:b+ 36:G+
SELinuxMount 30:a 33:b
SELinuxMountReadWriteOncePod b+ 36:G+
SchedulerAsyncAPICalls 34:b
SchedulerAsyncPreemption 32:a 33:b+
SchedulerPopFromBackoffQ 33:b+
SchedulerQueueingHints b 32:b+ 34:G+
SeccompDefault G+ 29:-
SecurityContextDeny a 30:-
SeparateCacheWatchRPC b+ 33:d 36:D
SeparateTaintEvictionController 29:b+ 34:G+
ServerSideApply G+ 32:-
ServerSideFieldValidation G+ 32:-
ServiceAccountNodeAudienceRestriction 32:b 33:b+
ServiceAccountTokenJTI 29:a 30:b+ 32:G+
ServiceAccountTokenNodeBinding 29:a 31:b+ 33:G+
ServiceAccountTokenNodeBindingValidation 29:a 30:b+ 32:G+
ServiceAccountTokenPodNodeInfo 29:a 30:b+ 32:G+
ServiceCIDRStatusFieldWiping 36:d+
ServiceNodePortStaticSubrange b+ 29:G+ 31:-
ServiceTrafficDistribution 30:a 31:b+ 33:G+ 36:-
ShardedListAndWatch 36:a
SidecarContainers a 29:b+ 33:G+
SizeBasedListCostEstimate 34:b+
SizeMemoryBackedVolumes b+ 32:G+ 35:-
SkipReadOnlyValidationGCE a 29:d+ 31:-
StableLoadBalancerNodeSet b+ 30:G+ 32:-
StaleControllerConsistencyDaemonSet 36:b+
StaleControllerConsistencyJob 36:b+
StaleControllerConsistencyReplicaSet 36:b+
StaleControllerConsistencyStatefulSet 36:b+
StatefulSetAutoDeletePVC b+ 32:G+ 35:-
StatefulSetSemanticRevisionComparison 34:b+
StatefulSetStartOrdinal b+ 31:G+ 34:-
StorageCapacityScoring 33:a
StorageNamespaceIndex 30:b+ 33:d+
StorageVersionAPI a
StorageVersionHash b+
StorageVersionMigrator 30:a 35:b
StreamingCollectionEncodingToJSON 33:b+ 34:G+
StreamingCollectionEncodingToProtobuf 33:b+ 34:G+
StrictCostEnforcementForVAP 30:b 32:G+ 35:-
StrictCostEnforcementForWebhooks 30:b 32:G+ 35:-
StrictIPCIDRValidation 33:a 36:b+
StructuredAuthenticationConfiguration 29:a 30:b+ 34:G+
StructuredAuthenticationConfigurationEgressSelector 34:b+
StructuredAuthenticationConfigurationJWKSMetrics 35:b+
StructuredAuthorizationConfiguration 29:a 30:b+ 32:G+ 36:-
SupplementalGroupsPolicy 31:a 33:b+ 35:G+
SystemdWatchdog 32:b+ 35:G+
TaintTolerationComparisonOperators 35:a
TokenRequestServiceAccountUIDValidation 34:b+
TopologyAwareHints b+ 33:G+ 36:-
TopologyAwareWorkloadScheduling 36:a
TopologyManager G+ 29:-
TopologyManagerPolicyAlphaOptions a
TopologyManagerPolicyBetaOptions b+
TopologyManagerPolicyOptions b+ 32:g+ 36:G+
TranslateStreamCloseWebsocketRequests 29:a 30:b+
UnauthenticatedHTTP2DOSMitigation b 29:b+
UnknownVersionInteroperabilityProxy a 36:b+
UnlockWhileProcessingFIFO 36:b+
UserNamespacesHostNetworkSupport 35:a
UserNamespacesPodSecurityStandards 29:a 35:-
UserNamespacesSupport a 30:b 33:b+ 36:G+
ValidatingAdmissionPolicy b 30:G+ 32:-
VolumeAttributesClass 29:a 31:b 34:g+ 36:G+
VolumeCapacityPriority a 33:-
VolumeLimitScaling 35:a
WatchBookmark G+ 33:-
WatchCacheInitializationPostStartHook 31:b 36:b+
WatchFromStorageWithoutResourceVersion b 33:D 36:-
WatchList a 32:b+ 33:b 34:b+
WatchListClient 30:b 35:b+
WinDSR a 33:b+ 34:G+
WinOverlay b+ 34:G+
WindowsCPUAndMemoryAffinity 32:a
WindowsGracefulNodeShutdown 32:a 34:b+
WindowsHostNetwork a+ 33:d
WorkloadAwarePreemption 36:a
WorkloadWithJob 36:a
ZeroLimitedNominalConcurrencyShares 29:b 30:G+ 32:-
"""

DEPENDENCIES = """\
AuthorizeNodeWithSelectors 35:AuthorizeWithSelectors
ClusterTrustBundleProjection 35:ClusterTrustBundle
DRAAdminAccess 35:DynamicResourceAllocation
DRAConsumableCapacity 35:DynamicResourceAllocation
DRADeviceBindingConditions 35:DRAResourceClaimDeviceStatus,DynamicResourceAllocation
DRADeviceTaintRules 35:DRADeviceTaints
DRADeviceTaints 35:DynamicResourceAllocation
DRAExtendedResource 35:DynamicResourceAllocation
DRAListTypeAttributes 36:DynamicResourceAllocation
DRANodeAllocatableResources 36:DynamicResourceAllocation
DRAPartitionableDevices 35:DynamicResourceAllocation
DRAPrioritizedList 35:DynamicResourceAllocation
DRAResourceClaimGranularStatusAuthorization 36:DRAResourceClaimDeviceStatus,DynamicResourceAllocation
DRAResourcePoolStatus 36:DynamicResourceAllocation
DRASchedulerFilterTimeout 35:DynamicResourceAllocation
DRAWorkloadResourceClaims 36:DynamicResourceAllocation,GenericWorkload
DeclarativeValidationBeta 36:DeclarativeValidation
DeclarativeValidationTakeover 35:DeclarativeValidation
DisableAllocatorDualWrite 35:MultiCIDRServiceAllocator
ExtendWebSocketsToKubelet 36:NodeDeclaredFeatures
GangScheduling 35:GenericWorkload
GracefulNodeShutdownBasedOnPodPriority 35:GracefulNodeShutdown
ImageVolumeWithDigest 36:ImageVolume
InPlacePodLevelResourcesVerticalScaling 35:InPlacePodVerticalScaling,NodeDeclaredFeatures,PodLevelResources
InPlacePodVerticalScalingAllocatedStatus 35:InPlacePodVerticalScaling 36:-
InPlacePodVerticalScalingExclusiveCPUs 35:InPlacePodVerticalScaling
InPlacePodVerticalScalingExclusiveMemory 35:InPlacePodVerticalScaling,MemoryManager 36:InPlacePodVerticalScaling
InPlacePodVerticalScalingInitContainers 36:InPlacePodVerticalScaling,NodeDeclaredFeatures
MatchLabelKeysInPodTopologySpreadSelectorMerge 35:MatchLabelKeysInPodTopologySpread
PodCertificateRequest 35:AuthorizeNodeWithSelectors
PodLevelResourceManagers 36:PodLevelResources
PodLifecycleSleepActionAllowZero 35:PodLifecycleSleepAction
ProcMountType 35:UserNamespacesSupport
ResourceHealthStatus 35:DynamicResourceAllocation
ResourceHealthStatusMessage 36:ResourceHealthStatus
RestartAllContainersOnContainerExits 35:ContainerRestartRules,NodeDeclaredFeatures
ServiceAccountTokenNodeBinding 35:ServiceAccountTokenNodeBindingValidation
StaleControllerConsistencyDaemonSet 36:AtomicFIFO
StaleControllerConsistencyJob 36:AtomicFIFO
StaleControllerConsistencyReplicaSet 36:AtomicFIFO
StaleControllerConsistencyStatefulSet 36:AtomicFIFO
StorageVersionAPI 35:APIServerIdentity
StructuredAuthenticationConfigurationEgressSelector 35:StructuredAuthenticationConfiguration
StructuredAuthenticationConfigurationJWKSMetrics 35:StructuredAuthenticationConfiguration
TopologyAwareWorkloadScheduling 36:GenericWorkload
UnknownVersionInteroperabilityProxy 35:APIServerIdentity
UserNamespacesHostNetworkSupport 35:UserNamespacesSupport 36:NodeDeclaredFeatures,UserNamespacesSupport
WindowsCPUAndMemoryAffinity 35:MemoryManager 36:-
WindowsGracefulNodeShutdown 35:GracefulNodeShutdown
WorkloadAwarePreemption 36:GangScheduling
WorkloadWithJob 36:GenericWorkload
"""

FLAGS = """\
address address
allowed-unsafe-sysctls allowedUnsafeSysctls
anonymous-auth authentication.anonymous.enabled
authentication-token-webhook authentication.webhook.enabled
authentication-token-webhook-cache-ttl authentication.webhook.cacheTTL
authorization-mode authorization.mode
authorization-webhook-cache-authorized-ttl authorization.webhook.cacheAuthorizedTTL
authorization-webhook-cache-unauthorized-ttl authorization.webhook.cacheUnauthorizedTTL
cgroup-driver cgroupDriver
cgroup-root cgroupRoot
cgroups-per-qos cgroupsPerQOS
client-ca-file authentication.x509.clientCAFile
cluster-dns clusterDNS
cluster-domain clusterDomain
container-log-max-files containerLogMaxFiles
container-log-max-size containerLogMaxSize
container-runtime-endpoint containerRuntimeEndpoint
contention-profiling enableContentionProfiling
cpu-cfs-quota cpuCFSQuota
cpu-cfs-quota-period cpuCFSQuotaPeriod
cpu-manager-policy cpuManagerPolicy
cpu-manager-policy-options cpuManagerPolicyOptions
cpu-manager-reconcile-period cpuManagerReconcilePeriod
enable-controller-attach-detach enableControllerAttachDetach
enable-debugging-handlers enableDebuggingHandlers
enable-server enableServer
enforce-node-allocatable enforceNodeAllocatable
event-burst eventBurst
event-qps eventRecordQPS
eviction-hard evictionHard
eviction-max-pod-grace-period evictionMaxPodGracePeriod
eviction-minimum-reclaim evictionMinimumReclaim
eviction-pressure-transition-period evictionPressureTransitionPeriod
eviction-soft evictionSoft
eviction-soft-grace-period evictionSoftGracePeriod
fail-cgroupv1 31:failCgroupV1
fail-swap-on failSwapOn
feature-gates featureGates
file-check-frequency fileCheckFrequency
hairpin-mode hairpinMode
healthz-bind-address healthzBindAddress
healthz-port healthzPort
http-check-frequency httpCheckFrequency
image-gc-high-threshold imageGCHighThresholdPercent
image-gc-low-threshold imageGCLowThresholdPercent
image-service-endpoint imageServiceEndpoint
iptables-drop-bit iptablesDropBit 31:-
iptables-masquerade-bit iptablesMasqueradeBit 31:-
kernel-memcg-notification kernelMemcgNotification
kube-api-burst kubeAPIBurst
kube-api-content-type contentType
kube-api-qps kubeAPIQPS
kube-reserved kubeReserved
kube-reserved-cgroup kubeReservedCgroup
kubelet-cgroups kubeletCgroups
local-storage-capacity-isolation localStorageCapacityIsolation
make-iptables-util-chains makeIPTablesUtilChains
manifest-url staticPodURL
manifest-url-header staticPodURLHeader
max-open-files maxOpenFiles
max-pods maxPods
memory-manager-policy memoryManagerPolicy
minimum-image-ttl-duration imageMinimumGCAge
node-status-max-images nodeStatusMaxImages
node-status-update-frequency nodeStatusUpdateFrequency
oom-score-adj oomScoreAdj
pod-cidr podCIDR
pod-manifest-path staticPodPath
pod-max-pids podPidsLimit
pods-per-core podsPerCore
port port
protect-kernel-defaults protectKernelDefaults
provider-id providerID
qos-reserved qosReserved
read-only-port readOnlyPort
register-node registerNode
register-with-taints registerWithTaints
registry-burst registryBurst
registry-qps registryPullQPS
reserved-cpus reservedSystemCPUs
reserved-memory reservedMemory
resolv-conf resolvConf
rotate-certificates rotateCertificates
rotate-server-certificates serverTLSBootstrap
runonce runOnce
runtime-request-timeout runtimeRequestTimeout
serialize-image-pulls serializeImagePulls
streaming-connection-idle-timeout streamingConnectionIdleTimeout
sync-frequency syncFrequency
system-cgroups systemCgroups
system-reserved systemReserved
system-reserved-cgroup systemReservedCgroup
tls-cert-file tlsCertFile
tls-cipher-suites tlsCipherSuites
tls-min-version tlsMinVersion
tls-private-key-file tlsPrivateKeyFile
topology-manager-policy topologyManagerPolicy
topology-manager-policy-options topologyManagerPolicyOptions
topology-manager-scope topologyManagerScope
volume-plugin-dir volumePluginDir
volume-stats-agg-period volumeStatsAggPeriod
"""

OPTIONS = """\
cpu.align-by-socket a
cpu.distribute-cpus-across-cores 31:a
cpu.distribute-cpus-across-numa a 33:b
cpu.full-pcpus-only b 33:g
cpu.prefer-align-cpus-by-uncorecache 32:a 34:b 36:g
cpu.strict-cpu-reservation 32:a 33:b 35:g
topology.max-allowable-numa-nodes 31:b 35:g
topology.prefer-closest-numa-nodes b 32:g
"""
