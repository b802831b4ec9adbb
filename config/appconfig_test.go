package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"waypoint/api/configpb"
	"waypoint/errs"
)

const withFiles = `
project = "shop"
variable "level" { default = "info" }

app "web" {
  config {
    env = { COLOR = "blue", MOVED = "1" }

    file "/etc/app/app.conf" {
      content = <<-EOT
        level = ${var.level}
        in = ${workspace.name}
      EOT
      mode    = "0640"
      owner   = "app:app"
    }
    file "/etc/app/key.pem" {
      name    = "TLS_KEY"
      content = ""
    }

    reload          = "signal"
    signal          = "HUP"
    max_unavailable = 2
  }
  workspace "staging" {
    config {
      env = { TLS_KEY = "in the environment" }
      file "/etc/app/app.conf" {
        name    = "CONF"
        content = jsonencode({ level = "debug" })
      }
      file "/etc/moved" {
        name    = "MOVED"
        content = "1"
      }
    }
  }
  workspace "plain" {
    config {
      file "/etc/key.pem" {
        name    = "TLS_KEY"
        content = "x"
        mode    = 600
      }
    }
  }
}

app "worker" {
  config {}
}
`

func TestConfigBlockHasFiles(t *testing.T) {
	for workspace, want := range map[string]App{
		"default": {
			Env: map[string]string{"COLOR": "blue", "MOVED": "1"},
			Files: []File{
				{Name: "ETC_APP_APP_CONF", Path: "/etc/app/app.conf", Content: "level = info\nin = default\n", Mode: 0o640, Owner: "app:app"},
				{Name: "TLS_KEY", Path: "/etc/app/key.pem"},
			},
		},
		"staging": {
			Env: map[string]string{"COLOR": "blue", "TLS_KEY": "in the environment"},
			Files: []File{
				{Name: "CONF", Path: "/etc/app/app.conf", Content: `{"level":"debug"}`},
				{Name: "MOVED", Path: "/etc/moved", Content: "1"},
			},
		},
		"plain": {
			Env: map[string]string{"COLOR": "blue", "MOVED": "1"},
			Files: []File{
				{Name: "ETC_APP_APP_CONF", Path: "/etc/app/app.conf", Content: "level = info\nin = plain\n", Mode: 0o640, Owner: "app:app"},
				{Name: "TLS_KEY", Path: "/etc/key.pem", Content: "x", Mode: 0o600},
			},
		},
	} {
		p := load(t, withFiles, nil, workspace)
		web := p.App("web")
		if !reflect.DeepEqual(web.Env, want.Env) || !reflect.DeepEqual(web.Files, want.Files) {
			t.Errorf("%s: env %v, files %+v\nwant %v, %+v", workspace, web.Env, web.Files, want.Env, want.Files)
		}
		if web.Policy == nil || *web.Policy != (Policy{Reload: "signal", Signal: "HUP", MaxUnavailable: "2"}) {
			t.Errorf("%s: policy %+v", workspace, web.Policy)
		}
		if worker := p.App("worker"); worker.Policy != nil || len(worker.Files) != 0 {
			t.Errorf("%s: an empty block says %+v", workspace, worker)
		}
	}
}

func TestFaultsOfTheConfigBlockHaveTheirPlace(t *testing.T) {
	file := func(attrs string) string { return "file \"/a\" {\n" + attrs + "\n}" }
	for name, c := range map[string]struct{ block, want string }{
		"no content":       {file(""), "4,11: Missing required argument: The argument \"content\""},
		"relative path":    {"file \"a\" {\ncontent = \"\"\n}", "4,6: Unsuitable path: "},
		"dots":             {"file \"/a/../b\" {\ncontent = \"\"\n}", "4,6: Unsuitable path: "},
		"root":             {"file \"/\" {\ncontent = \"\"\n}", "4,6: Unsuitable path: "},
		"mode":             {file("content = \"\"\nmode = \"rw\""), "6,8: Unsuitable mode: The mode \"rw\""},
		"mode 0":           {file("content = \"\"\nmode = \"0\""), "6,8: Unsuitable mode: "},
		"set-user-id":      {file("content = \"\"\nmode = \"4755\""), "6,8: Unsuitable mode: "},
		"variable's name":  {file("content = \"\"\nname = \"a-b\""), "4,6: Invalid name: The name \"a-b\""},
		"unknown argument": {file("content = \"\"\nuser = \"a\""), "6,1: Unsupported argument: "},
		"path twice":       {file("content = \"\"") + "\n" + file("content = \"\"\nname = \"B\""), "7,6: Duplicate file: "},
		"name twice":       {file("content = \"\"") + "\nfile \"/A\" {\ncontent = \"\"\n}", "7,6: Duplicate variable: The file \"/a\""},
		"name in env":      {"env = { A = \"1\" }\n" + file("content = \"\""), "5,6: Duplicate variable: The variable \"A\" is in env"},
		"reload":           {"reload = \"never\"", "4,10: Unknown reload: \"reload\" must be one of restart, signal, next-start"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := LoadProject(write(t, "project = \"a\"\napp \"x\" {\nconfig {\n"+c.block+"\n}\n}"), nil, "")
			if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "waypoint.hcl:"+c.want) {
				t.Errorf("error is %v\nwant %s", err, c.want)
			}
		})
	}
	for _, attr := range []string{"reload = \"restart\"", "signal = \"HUP\"", "max_unavailable = \"1\""} {
		_, err := LoadProject(write(t, "project = \"a\"\napp \"x\" {\nworkspace \"w\" {\nconfig {\n"+attr+"\n}\n}\n}"), nil, "")
		if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "Policy of a workspace: ") || !strings.Contains(err.Error(), "waypoint.hcl:5,") {
			t.Errorf("%s in a workspace: %v", attr, err)
		}
	}
}

func TestVariableOfAFileIsNamedAfterItsPath(t *testing.T) {
	for at, want := range map[string]string{
		"/etc/app/app.conf": "ETC_APP_APP_CONF", "/a": "A", "/a-b c/ü": "A_B_C__", "/1/x": "_1_X", "/_x": "_X",
	} {
		if got := FileVariable(at); got != want {
			t.Errorf("%s is %s, want %s", at, got, want)
		}
	}
}

func TestReloadWordsAreThoseOfTheAPI(t *testing.T) {
	reloads := map[string]configpb.Reload{
		"restart": configpb.Reload_RELOAD_RESTART, "signal": configpb.Reload_RELOAD_SIGNAL, "next-start": configpb.Reload_RELOAD_NEXT_START,
	}
	if len(ReloadWords()) != len(configpb.Reload_name)-1 {
		t.Errorf("the words are %v, the API has %v", ReloadWords(), configpb.Reload_name)
	}
	for _, word := range ReloadWords() {
		if got := ReloadOf(word); got != reloads[word] || ReloadWord(got) != word {
			t.Errorf("%s is %v, and that is %s", word, got, ReloadWord(got))
		}
	}
	if got := ReloadOf(""); got != configpb.Reload_RELOAD_UNSPECIFIED {
		t.Errorf("no word is %v", got)
	}
}

func TestFileModesAreOctal(t *testing.T) {
	for text, want := range map[string]uint32{"0640": 0o640, "640": 0o640, "0777": 0o777, "1": 1} {
		if got, ok := FileMode(text); !ok || got != want {
			t.Errorf("%s is %#o, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "0", "0o640", "0888", "01777", "-1", "u=rw", fmt.Sprint(1 << 40)} {
		if got, ok := FileMode(text); ok {
			t.Errorf("%q is taken as %#o", text, got)
		}
	}
}
