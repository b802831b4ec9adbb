package config

import "strings"

// Template is the text of a new project file for "waypoint init".
func Template(project, app string) string {
	return strings.NewReplacer("PROJECT", project, "APP", app).Replace(template)
}

const template = `# What Waypoint builds, deploys and releases; "waypoint up" does all three.
project = "PROJECT"

variable "greeting" {
  default     = "hello"
  description = "what the app says; change it with: waypoint up -var greeting=hi"
}

app "APP" {
  # Environment of the app. "waypoint config set" adds to it and wins over it.
  config {
    env = {
      GREETING = var.greeting
    }
  }

  build {
    # Runs a command in this folder; output is the file or folder it makes.
    use "exec" {
      command = ["sh", "-c", "mkdir -p out && printf '#!/bin/sh\\nwhile :; do echo \"$GREETING from APP\"; sleep 1; done\\n' >out/APP && chmod +x out/APP"]
      output  = "out/APP"
    }
  }

  deploy {
    # Runs instances of the artifact as processes on the runner's machine.
    use "local" {
      command   = [artifact.path]
      instances = 1
    }
  }

  release {
    use "noop" {}
  }

  # What is different in another workspace (waypoint up -workspace staging).
  # workspace "staging" {
  #   config {
  #     env = { GREETING = "hello from staging" }
  #   }
  # }
}
`
