package policy_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"

	_ "waypoint/api/authpb"
	"waypoint/api/policypb"
	_ "waypoint/api/versionpb"
	"waypoint/rpc/policy"
)

func TestPoliciesAreReadFromTheDescriptors(t *testing.T) {
	table, err := policy.Load()
	if err != nil {
		t.Fatal(err)
	}
	create := table.Lookup("/waypoint.auth.Auth/CreateToken")
	if !policy.Admits(create, policypb.Caller_CALLER_NODE) || policy.Admits(create, policypb.Caller_CALLER_RUNNER) || policy.Open(create) {
		t.Errorf("CreateToken: %v", create)
	}
	if open := table.Lookup("/waypoint.version.Version/Get"); !policy.Admits(open, policypb.Caller_CALLER_UNSPECIFIED) || !policy.Open(open) {
		t.Errorf("Version: %v", open)
	}
	if !slices.Contains(table.Methods(), "/grpc.health.v1.Health/Check") || table.Lookup("/x.Y/Z") != nil || policy.Admits(nil, policypb.Caller_CALLER_USER) {
		t.Error("foreign and unknown methods")
	}
}

func TestCheckNamesMethodsWithoutPolicy(t *testing.T) {
	table, err := policy.Load()
	if err != nil {
		t.Fatal(err)
	}
	services := map[string]grpc.ServiceInfo{"waypoint.auth.Auth": {Methods: []grpc.MethodInfo{{Name: "WhoAmI"}}}}
	if err := table.Check(services); err != nil {
		t.Error(err)
	}
	services["x.Y"] = grpc.ServiceInfo{Methods: []grpc.MethodInfo{{Name: "Z"}}}
	if err := table.Check(services); err == nil || !strings.Contains(err.Error(), "/x.Y/Z") {
		t.Errorf("check: %v", err)
	}
}
