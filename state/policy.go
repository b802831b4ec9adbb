package state

import (
	"strconv"
	"strings"

	"waypoint/api/configpb"
	"waypoint/errs"
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
	number, share, err := parseMaxUnavailable(FillPolicy(policy).GetMaxUnavailable())
	if err != nil {
		number, share, _ = parseMaxUnavailable(defaultMaxUnavailable)
	}
	if share {
		number = instances * number / 100
	}
	return max(number, 1)
}

// CheckMaxUnavailable says what is wrong with a policy's max_unavailable.
func CheckMaxUnavailable(text string) error {
	_, _, err := parseMaxUnavailable(text)
	return err
}

// parseMaxUnavailable reads a number of instances, or a share of them in
// percent.
func parseMaxUnavailable(text string) (number int, share bool, err error) {
	digits, share := strings.CutSuffix(text, "%")
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || n == 0 || share && n > 100 {
		return 0, false, errs.New(errs.Invalid, "max_unavailable %.20q is not allowed: "+
			"use a number of instances from 1 up, such as \"2\", or a share from \"1%%\" to \"100%%\"", text)
	}
	return int(n), share, nil
}
