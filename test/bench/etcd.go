package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"waypoint/test/harness"
)

// patience is after how long a probe of etcd gives up a write and tries again:
// one that the lost leader had is answered only after 7 s.
const patience = 250 * time.Millisecond

// etcd is the peer: members on loopback with etcd's defaults.
type etcd struct {
	dir     string // everything is written below it
	load    string // path of the generator of load
	initial string // the members, as etcd's flag wants them
	members []*etcdMember
}

// etcdMember is one etcd process.
type etcdMember struct {
	name, client, peer string // its name, and the addresses it listens on
	cmd                *exec.Cmd
}

// startEtcd starts three members below dir and waits until all are healthy.
func startEtcd(ctx context.Context, dir, load string) (*etcd, error) {
	load, err := filepath.Abs(load)
	if err == nil {
		err = need("etcd", load)
	}
	if err == nil {
		dir, err = os.MkdirTemp(dir, "etcd-") // a benchmark before may have left members of other addresses
	}
	if err != nil {
		return nil, err
	}
	e := &etcd{dir: dir, load: load}
	var initial []string
	for i := range 3 {
		addrs, err := freeAddrs(2)
		if err != nil {
			return nil, err
		}
		m := &etcdMember{name: fmt.Sprintf("e%d", i+1), client: addrs[0], peer: addrs[1]}
		e.members = append(e.members, m)
		initial = append(initial, m.name+"=http://"+m.peer)
	}
	e.initial = strings.Join(initial, ",")
	for _, m := range e.members {
		if err := e.start(m); err != nil {
			e.stop()
			return nil, err
		}
	}
	if err := e.await(ctx); err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

func (e *etcd) start(m *etcdMember) error {
	log, err := os.OpenFile(filepath.Join(e.dir, m.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	m.cmd = exec.Command("etcd", "--name="+m.name, "--data-dir="+filepath.Join(e.dir, m.name),
		"--listen-client-urls=http://"+m.client, "--advertise-client-urls=http://"+m.client,
		"--listen-peer-urls=http://"+m.peer, "--initial-advertise-peer-urls=http://"+m.peer,
		"--initial-cluster="+e.initial, "--initial-cluster-token=bench")
	m.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + e.dir}
	m.cmd.Dir, m.cmd.Stdout, m.cmd.Stderr = e.dir, log, log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return m.cmd.Start()
}

// stop ends every member.
func (e *etcd) stop() {
	for _, m := range e.members {
		if m.cmd != nil && m.cmd.Process != nil {
			_ = m.cmd.Process.Kill() // it may have ended already
			_ = m.cmd.Wait()         // killed, as it should be
		}
	}
}

// await waits until every member answers a linearizable read.
func (e *etcd) await(ctx context.Context) error {
	return harness.Until(ctx, 30*time.Second, func() error {
		for _, m := range e.members {
			var health struct{ Health string }
			if err := ask(ctx, http.MethodGet, "http://"+m.client+"/health", &health); err != nil {
				return err
			}
			if health.Health != "true" {
				return fmt.Errorf("member %s of etcd is not healthy", m.name)
			}
		}
		return nil
	})
}

// ask calls one of etcd's HTTP methods with an empty request.
func ask(ctx context.Context, method, url string, reply any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewBufferString("{}"))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return json.NewDecoder(res.Body).Decode(reply)
}

func (*etcd) name() string { return "etcd" }

func (e *etcd) generator(ctx context.Context, l load) *exec.Cmd {
	endpoints := make([]string, 0, len(e.members))
	for _, m := range e.members {
		endpoints = append(endpoints, m.client)
	}
	return exec.CommandContext(ctx, e.load, "-endpoints="+strings.Join(endpoints, ","), "-op="+l.op,
		fmt.Sprintf("-clients=%d", l.clients), fmt.Sprintf("-for=%s", l.last), fmt.Sprintf("-patience=%s", patience))
}

// leader returns the member that leads.
func (e *etcd) leader(ctx context.Context) (*etcdMember, error) {
	for _, m := range e.members {
		var status struct {
			Header struct {
				ID string `json:"member_id"`
			}
			Leader string
		}
		if err := ask(ctx, http.MethodPost, "http://"+m.client+"/v3/maintenance/status", &status); err != nil {
			return nil, err
		}
		if status.Leader == status.Header.ID {
			return m, nil
		}
	}
	return nil, errors.New("no member of etcd leads")
}

func (e *etcd) processes(ctx context.Context) ([]int, error) {
	leader, err := e.leader(ctx)
	if err != nil {
		return nil, err
	}
	pids := []int{leader.cmd.Process.Pid}
	for _, m := range e.members {
		if m != leader {
			pids = append(pids, m.cmd.Process.Pid)
		}
	}
	return pids, nil
}

func (e *etcd) strike(ctx context.Context, how syscall.Signal) (struck, error) {
	leader, err := e.leader(ctx)
	if err != nil {
		return struck{}, err
	}
	k := struck{at: time.Now(), again: func(ctx context.Context) error {
		if err := e.start(leader); err != nil {
			return err
		}
		return e.await(ctx)
	}}
	if err := leader.cmd.Process.Signal(how); err != nil {
		return k, err
	}
	_ = leader.cmd.Wait() // it ends by the signal
	return k, nil
}

// freeAddrs returns n addresses on loopback that were free a moment ago.
func freeAddrs(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}
