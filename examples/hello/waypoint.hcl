project = "hello"

variable "greeting" {
  default     = "hello"
  description = "what the app says: waypoint up -var greeting=hi"
}

variable "instances" {
  default     = 2
  description = "how many copies run"
}

app "web" {
  config {
    env = {
      GREETING = "${var.greeting} from ${workspace.name}"
    }
  }

  build {
    use "exec" {
      command = ["sh", "build.sh"]
      output  = "out/hello"
    }
  }

  deploy {
    use "local" {
      command   = [artifact.path]
      instances = var.instances
    }
  }

  release {
    use "noop" {}
  }
}
