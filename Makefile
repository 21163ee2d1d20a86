# SPDX-License-Identifier: GPL-2.0
# Targets for people; the kernel's build reads Kbuild.

KVER ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build

all: module userspace

module:
	@[ -d $(KDIR) ] || { echo 'no kernel headers in $(KDIR): install' \
		'linux-headers-$(KVER) or give KDIR=' >&2; exit 1; }
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules

userspace:
	$(MAKE) -C userspace

install: all
	$(MAKE) -C $(KDIR) M=$(CURDIR) INSTALL_MOD_PATH=$(DESTDIR) modules_install
	$(MAKE) -C userspace install

# Whatever the headers of the running kernel are up to, userspace is cleaned.
clean:
	-[ ! -d $(KDIR) ] || $(MAKE) -C $(KDIR) M=$(CURDIR) clean
	$(MAKE) -C userspace clean
	-[ ! -f tests/unit/Makefile ] || $(MAKE) -C tests/unit clean
	rm -rf build

# KERNEL=6.1, 6.12, 7, uml or several of them: the guest tests on those only
check:
	tests/deps.sh check
	tests/run $(KERNEL:%=--kernel %)

coverage:
	tests/deps.sh check
	tests/coverage

check-debug:
	$(MAKE) check KERNEL=uml

# Every test on every kernel: hours
check-matrix:
	ALL=y $(MAKE) check KERNEL='6.1 6.12 7 uml'

demo:
	tests/deps.sh vm
	tests/demo/run

bench:
	tests/deps.sh vm
	tests/bench/run

style:
	tests/deps.sh check
	tests/run lint

help:
	@echo 'make            the module, for KDIR=$(KDIR), and shadowctl'
	@echo 'make install    both, with man page, completion and units (DESTDIR, PREFIX)'
	@echo 'make demo       shows it at work, in a virtual machine (installs what that needs)'
	@echo 'make check      all tests, in virtual machines (installs what they need)'
	@echo 'make check KERNEL=6.12  the tests of the module on that kernel alone'
	@echo 'make check-debug        the same on the one with KASAN and lockdep'
	@echo 'make check-matrix       every test on every kernel (hours)'
	@echo 'make coverage   what of the module the tests execute'
	@echo 'make style      the part of check that reads the sources only'
	@echo 'make bench      measures, in virtual machines'
	@echo 'make clean'

.PHONY: all module userspace install clean check check-debug check-matrix coverage demo bench style help
