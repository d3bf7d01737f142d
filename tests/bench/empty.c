// SPDX-License-Identifier: GPL-2.0-or-later
/* empty FILE.bpf.o: loads and attaches every program of it, says "ready" with their ids, stays until stdin ends. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct bpf_object *obj = argc == 2 ? bpf_object__open_file(argv[1], NULL) : NULL;
	struct bpf_prog_info info;
	struct bpf_program *prog;
	char c;

	if (!obj || bpf_object__load(obj) != 0)
		return 1;
	printf("ready");
	bpf_object__for_each_program(prog, obj) {
		__u32 len = sizeof(info);

		info = (struct bpf_prog_info){ 0 };
		if (!bpf_program__attach(prog) ||
		    bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &len) != 0)
			return 1;
		printf(" %u", info.id);
	}
	printf("\n");
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	return 0;
}
