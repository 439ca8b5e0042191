# python_with FILE: a Python with the packages of this requirements file comes first in PATH.
python_with() {
  need_python
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die 'install Python 3.11 or newer first'
  python3 -m venv "$CACHE/venv"
  PATH=$CACHE/venv/bin:$PATH
  pip install --quiet --disable-pip-version-check --requirement "$1"
}
