package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
)

// The provisioner gives each claim of its StorageClass a directory on the
// disk of the node that the scheduler chose, as a `local` volume (unlike
// `hostPath`, these respect a pod's fsGroup). It runs outside the nodes and
// sees all of their disks below one directory, each mounted while its node
// has power. Every change of a claim or a volume starts one pass over all of
// them; a pass that failed is repeated a second later.

const (
	provisionerName = "shardpair.test/node-path"
	hostLabel       = "kubernetes.io/hostname"

	annSelectedNode  = "volume.kubernetes.io/selected-node"
	annProvisionedBy = "pv.kubernetes.io/provisioned-by"
)

type provisioner struct {
	client kubernetes.Interface
	// %s is the node's name.
	diskPattern string
	// Where a node itself sees its disk.
	diskInNode string
	factory    informers.SharedInformerFactory
}

func newProvisionerCommand(ctx context.Context) *cobra.Command {
	var kubeconfig string
	p := provisioner{}
	command := &cobra.Command{
		Use:          "provisioner",
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			p.client, err = kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			return p.run(ctx)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	command.Flags().StringVar(&p.diskPattern, "disk", "", "mount point of a node's disk here, %s being the node's name")
	command.Flags().StringVar(&p.diskInNode, "disk-in-node", "", "mount point of that disk in the node")
	return command
}

func (p *provisioner) run(ctx context.Context) error {
	p.factory = informers.NewSharedInformerFactory(p.client, 0)
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify() },
		UpdateFunc: func(any, any) { notify() },
		DeleteFunc: func(any) { notify() },
	}
	for _, informer := range []cache.SharedIndexInformer{
		p.factory.Core().V1().PersistentVolumeClaims().Informer(),
		p.factory.Core().V1().PersistentVolumes().Informer(),
		p.factory.Storage().V1().StorageClasses().Informer(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	p.factory.Start(ctx.Done())
	p.factory.WaitForCacheSync(ctx.Done())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		if err := p.pass(ctx); err != nil {
			klog.ErrorS(err, "pass failed, again in 1 s")
			time.AfterFunc(time.Second, notify)
		}
	}
}

func (p *provisioner) pass(ctx context.Context) error {
	var failed []error
	for _, object := range p.factory.Core().V1().PersistentVolumeClaims().Informer().GetStore().List() {
		claim := object.(*core.PersistentVolumeClaim)
		class := p.classOf(claim)
		if class == nil || claim.DeletionTimestamp != nil {
			continue
		}
		var err error
		switch {
		case claim.Spec.VolumeName == "":
			err = p.provision(ctx, claim, class)
		case claim.Status.Phase == core.ClaimBound:
			err = p.expand(ctx, claim)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("claim %s/%s: %w", claim.Namespace, claim.Name, err))
		}
	}
	for _, object := range p.factory.Core().V1().PersistentVolumes().Informer().GetStore().List() {
		volume := object.(*core.PersistentVolume)
		if err := p.reclaim(ctx, volume); err != nil {
			failed = append(failed, fmt.Errorf("volume %s: %w", volume.Name, err))
		}
	}
	return errors.Join(failed...)
}

// classOf returns the claim's StorageClass if it is one of ours.
func (p *provisioner) classOf(claim *core.PersistentVolumeClaim) *storage.StorageClass {
	object, exists, _ := p.factory.Storage().V1().StorageClasses().Informer().GetStore().
		GetByKey(ptr.Deref(claim.Spec.StorageClassName, ""))
	if !exists {
		return nil
	}
	if class := object.(*storage.StorageClass); class.Provisioner == provisionerName {
		return class
	}
	return nil
}

func (p *provisioner) provision(ctx context.Context, claim *core.PersistentVolumeClaim, class *storage.StorageClass) error {
	node := claim.Annotations[annSelectedNode]
	if node == "" {
		return nil // the scheduler hasn't placed its pod yet
	}
	name := "pvc-" + string(claim.UID)
	if _, exists, _ := p.factory.Core().V1().PersistentVolumes().Informer().GetStore().GetByKey(name); exists {
		return nil // being bound
	}
	if err := p.makeDirectory(node, name); err != nil {
		// Tells the scheduler to choose anew, as any provisioner does.
		again := claim.DeepCopy()
		delete(again.Annotations, annSelectedNode)
		_, updateErr := p.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, again, meta.UpdateOptions{})
		return errors.Join(err, updateErr)
	}
	mode := core.PersistentVolumeFilesystem
	_, err := p.client.CoreV1().PersistentVolumes().Create(ctx, &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{annProvisionedBy: provisionerName}},
		Spec: core.PersistentVolumeSpec{
			StorageClassName:              class.Name,
			VolumeMode:                    &mode,
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]},
			PersistentVolumeReclaimPolicy: ptr.Deref(class.ReclaimPolicy, core.PersistentVolumeReclaimDelete),
			PersistentVolumeSource: core.PersistentVolumeSource{
				Local: &core.LocalVolumeSource{Path: filepath.Join(p.diskInNode, name)},
			},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{
				NodeSelectorTerms: []core.NodeSelectorTerm{{MatchExpressions: []core.NodeSelectorRequirement{{
					Key: hostLabel, Operator: core.NodeSelectorOpIn, Values: []string{node},
				}}}},
			}},
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
		},
	}, meta.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// makeDirectory leaves the directory open to every user: who writes to it is
// the pod's affair. It is synced, so that no power cut can take it back.
func (p *provisioner) makeDirectory(node, name string) error {
	disk, err := p.mountedDisk(node)
	if err != nil {
		return err
	}
	path := filepath.Join(disk, name)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	for _, synced := range []string{path, disk} {
		directory, err := os.Open(synced)
		if err != nil {
			return err
		}
		err = directory.Sync()
		directory.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// mountedDisk fails while the node has no power: without its disk mounted,
// the path is an empty directory of the machine's own.
func (p *provisioner) mountedDisk(node string) (string, error) {
	disk := fmt.Sprintf(p.diskPattern, node)
	if _, err := os.Stat(filepath.Join(disk, "lost+found")); err != nil {
		return "", fmt.Errorf("the disk of node %s isn't mounted: %w", node, err)
	}
	return disk, nil
}

// expand only records the new size: a directory has none of its own.
func (p *provisioner) expand(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	wanted := claim.Spec.Resources.Requests[core.ResourceStorage]
	if current, known := claim.Status.Capacity[core.ResourceStorage]; !known || wanted.Cmp(current) <= 0 {
		return nil
	}
	volume, err := p.client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, meta.GetOptions{})
	if err != nil {
		return err
	}
	volume.Spec.Capacity[core.ResourceStorage] = wanted
	if _, err := p.client.CoreV1().PersistentVolumes().Update(ctx, volume, meta.UpdateOptions{}); err != nil {
		return err
	}
	grown := claim.DeepCopy()
	grown.Status.Capacity[core.ResourceStorage] = wanted
	grown.Status.Conditions = nil
	_, err = p.client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, grown, meta.UpdateOptions{})
	return err
}

func (p *provisioner) reclaim(ctx context.Context, volume *core.PersistentVolume) error {
	if volume.Annotations[annProvisionedBy] != provisionerName ||
		volume.Status.Phase != core.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete ||
		volume.DeletionTimestamp != nil {
		return nil
	}
	node := volume.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0]
	disk, err := p.mountedDisk(node)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(disk, volume.Name)); err != nil {
		return err
	}
	err = p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
