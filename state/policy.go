package state

import (
	"strconv"
	"strings"

	"waypoint/api/configpb"
)

// What an app's policy says where it says nothing.
const (
	defaultReload         = configpb.Reload_RELOAD_RESTART
	defaultMaxUnavailable = "25%"
)

// FillPolicy returns a policy with the defaults in place of what it leaves
// out. A nil policy leaves out everything.
func FillPolicy(policy *configpb.Policy) *configpb.Policy {
	filled := &configpb.Policy{
		Reload:         policy.GetReload(),
		Signal:         policy.GetSignal(),
		MaxUnavailable: policy.GetMaxUnavailable(),
	}
	if filled.GetReload() == configpb.Reload_RELOAD_UNSPECIFIED {
		filled.Reload = defaultReload
	}
	if filled.GetMaxUnavailable() == "" {
		filled.MaxUnavailable = defaultMaxUnavailable
	}
	return filled
}

// MaxUnavailable returns how many of a deployment's instances may restart at a
// time: a share is rounded down, and the answer is at least 1. A policy that
// says nothing, or nothing that can be read, means a quarter.
func MaxUnavailable(policy *configpb.Policy, instances int) int {
	number, share, ok := parseMaxUnavailable(FillPolicy(policy).GetMaxUnavailable())
	if !ok {
		number, share, _ = parseMaxUnavailable(defaultMaxUnavailable)
	}
	if share {
		number = instances * number / 100
	}
	return max(number, 1)
}

// ValidMaxUnavailable tells whether a policy's max_unavailable can be read: a
// number from 1 up, or a share from "1%" to "100%".
func ValidMaxUnavailable(text string) bool {
	_, _, ok := parseMaxUnavailable(text)
	return ok
}

// parseMaxUnavailable reads a number of instances, or a share of them in
// percent.
func parseMaxUnavailable(text string) (number int, share, ok bool) {
	digits, share := strings.CutSuffix(text, "%")
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || n == 0 || share && n > 100 {
		return 0, false, false
	}
	return int(n), share, true
}
