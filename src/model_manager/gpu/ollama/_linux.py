"""The scripts for Linux: bash, and a drop-in for systemd; pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu.ollama._quoting import shell_assignment, unit_assignment
from model_manager.gpu.ollama._settings import OllamaSettings
from model_manager.gpu.ollama._template import facts_of, filled, lines_of, names_of
from model_manager.gpu.ollama._variables import UNDOING, OllamaVariable

CONFIG: Final = r"""
#!/usr/bin/env bash
# Sets the variables that keep Ollama on the @CARD@, in the shell that reads it:
#
#   source config_env_@SLUG@.sh
#
# Ollama reads them when it starts. A service of systemd gets nothing from a shell: for
# it there is ollama.service.d/@SLUG@.conf.
#
# Written by 'model-manager gpu scripts'. Run that again when the card is replaced.

@VARIABLES@

# These would undo the above.
unset @UNDOING@

if ! (return 0 2>/dev/null); then
    echo "ERROR: run alone, this changes nothing: source config_env_@SLUG@.sh" >&2
    exit 2
fi
"""

START: Final = r"""
#!/usr/bin/env bash
# Starts Ollama on the @CARD@ alone, with the variables of
# config_env_@SLUG@.sh, which must lie beside this file.
set -euo pipefail

fail() {
    echo "ERROR: $1" >&2
    echo "$2" >&2
    exit 1
}

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
[[ -r "$here/config_env_@SLUG@.sh" ]] ||
    fail "config_env_@SLUG@.sh is not beside this file." "Put it there."
# shellcheck source=/dev/null
source "$here/config_env_@SLUG@.sh"

command -v ollama >/dev/null ||
    fail "ollama is not on PATH." "Install Ollama, or add its folder to PATH."

# CUDA would quietly take the CPU if the card were missing.
command -v nvidia-smi >/dev/null ||
    fail "nvidia-smi is not on PATH, so the card cannot be checked." \
        "Install the NVIDIA driver."
card=$(nvidia-smi --id=@DEVICE@ --query-gpu=name --format=csv,noheader 2>&1) || true
case "$card" in
    @NAMES@) ;;
    *)
        fail "card @DEVICE@ is '$card', not the @CARD@." \
            "See 'nvidia-smi -L', then run 'model-manager gpu scripts' again."
        ;;
esac

if (exec 3<>"/dev/tcp/@ADDRESS@/@PORT@") 2>/dev/null; then
    fail "port @PORT@ is taken: a server runs already." \
        "Stop it (systemctl stop ollama), or: model-manager gpu check-server @URL@"
fi

echo "Ollama starts on $card. End it with Ctrl+C."
exec ollama serve
"""

MONITOR: Final = r"""
#!/usr/bin/env bash
# Shows the cards as they are now, until Ctrl+C. Options go to 'gpu watch'.
set -euo pipefail
if ! command -v model-manager >/dev/null; then
    echo "ERROR: model-manager is not on PATH." >&2
    echo "Install it with: pip install 'model-manager[cli]'" >&2
    exit 1
fi
exec model-manager gpu watch "$@"
"""

SURVEY: Final = r"""
#!/usr/bin/env bash
# Watches the card and checks the Ollama server, again and again, until Ctrl+C. What is
# wrong is shown and added to a file.
#
#   surveillance_continue_@SLUG@.sh [SECONDS] [FILE]
#
# The card is read every 5 seconds, the server checked every SECONDS, 60 otherwise. FILE
# is surveillance_@SLUG@.log otherwise.
set -euo pipefail
if ! command -v model-manager >/dev/null; then
    echo "ERROR: model-manager is not on PATH." >&2
    echo "Install it with: pip install 'model-manager[cli]'" >&2
    exit 1
fi
every=${1:-60}
file=${2:-surveillance_@SLUG@.log}
if ! [[ "$every" =~ ^[0-9]{1,6}$ ]] || ((10#$every < 5)); then
    echo "ERROR: SECONDS must be a whole number from 5 on." >&2
    exit 2
fi

while true; do
    wrong=""
    if cards=$(model-manager gpu watch --interval 5 --for "$every" 2>&1); then
        wrong=$(grep -F "  ALERT " <<<"$cards") || true
    else
        wrong=$cards
        sleep "$every"
    fi
    if ! server=$(model-manager gpu check-server @URL@ 2>&1); then
        wrong+=${wrong:+$'\n'}$server
    fi
    now=$(date '+%Y-%m-%d %H:%M:%S')
    if [[ -z "$wrong" ]]; then
        echo "$now ok"
        continue
    fi
    printf '%s ALERT\n%s\n' "$now" "$wrong"
    printf '%s ALERT\n%s\n' "$now" "$wrong" >>"$file" ||
        echo "ERROR: the alert cannot be written to $file." >&2
done
"""

DROP_IN: Final = r"""
# Keeps the service 'ollama' on the @CARD@. To install it:
#
#   sudo mkdir -p /etc/systemd/system/ollama.service.d
#   sudo cp ollama.service.d/@SLUG@.conf /etc/systemd/system/ollama.service.d/
#   sudo systemctl daemon-reload
#   sudo systemctl restart ollama
#
# or run 'sudo systemctl edit ollama' and paste the lines from [Service] on; then
# restart. To see what the service gets, and to check the server that runs:
#
#   systemctl show ollama -p Environment
#   sudo "$(command -v model-manager)" gpu check-server @URL@
#
# To undo it, remove the file, then daemon-reload and restart. A folder of models must
# be readable by the service's user, which is 'ollama'. In a unit, %% means one %.
#
# Written by 'model-manager gpu scripts'. Run that again when the card is replaced.
[Service]
@VARIABLES@
# These would undo the above.
UnsetEnvironment=@UNDOING@
"""


def linux_scripts(
    policy: GpuPolicy, settings: OllamaSettings, variables: Sequence[OllamaVariable]
) -> dict[str, str]:
    """Return the scripts for Linux: name to text."""
    facts = facts_of(policy, settings) | {
        "ADDRESS": settings.address[0],
        "UNDOING": " ".join(UNDOING),
        "NAMES": " | ".join(shlex.quote(name) for name in names_of(policy)),
    }
    slug = facts["SLUG"]
    exports = lines_of(variables, "#", shell_assignment)
    units = lines_of(variables, "#", unit_assignment)
    return {
        f"config_env_{slug}.sh": filled(CONFIG, facts | {"VARIABLES": exports}),
        f"start_ollama_{slug}.sh": filled(START, facts),
        f"start_monitor_{slug}.sh": filled(MONITOR, facts),
        f"surveillance_continue_{slug}.sh": filled(SURVEY, facts),
        f"ollama.service.d/{slug}.conf": filled(DROP_IN, facts | {"VARIABLES": units}),
    }
