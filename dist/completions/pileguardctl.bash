# SPDX-License-Identifier: GPL-2.0-or-later
# bash completion for pileguardctl; installed as /usr/share/bash-completion/completions/pileguardctl

_pileguardctl_names() # COMMAND COLUMN: one column of a table, without its title
{
	pileguardctl "$1" 2>/dev/null | awk -v c="$2" 'NR > 1 { print $c }' | sort -u
}

_pileguardctl_fragments() # what --with may name
{
	local file
	for file in /etc/pileguard/policy.yaml /etc/pileguard/policy.d/*.yaml; do
		[[ -e $file ]] && echo "${file##*/}="
	done
}

_pileguardctl()
{
	local cur prev words cword command='' word i
	local commands="status groups workers dependencies events explain metrics policy reload hold release disarm arm run unplace residue version help"

	# a destination's : and NAME=FILE's = belong to their words; readline replaces what stands behind the last of them
	_get_comp_words_by_ref -n := cur prev words cword
	# behind run's -- stands another command, with options of its own
	for ((i = 1; i < cword; i++)); do
		if [[ ${words[i]} == -- ]]; then
			_command_offset $((i + 1))
			return
		fi
	done
	case $prev in
	--socket | --file | --textfile) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
	--group) mapfile -t COMPREPLY < <(compgen -W "$(_pileguardctl_names groups 1)" -- "$cur"); return ;;
	--for | --every) mapfile -t COMPREPLY < <(compgen -W "1min 10min 1h" -- "$cur"); return ;;
	--with)
		compopt -o nospace
		if [[ $cur == *=* ]]; then
			mapfile -t COMPREPLY < <(compgen -f -- "${cur#*=}")
		else
			mapfile -t COMPREPLY < <(compgen -W "$(_pileguardctl_fragments)" -- "$cur")
		fi
		return
		;;
	esac
	for ((i = 1; i < cword; i++)); do
		word=${words[i]}
		[[ $word == -* || ${words[i - 1]} == --@(socket|file|group|for|with|textfile|every) ]] && continue
		command=$word
		break
	done
	if [[ $cur == -* ]]; then
		local options="--json --socket --help"
		case $command in
		events) options+=" --follow" ;;
		hold | release | disarm) options+=" --for" ;;
		groups | workers | dependencies) options+=" --group" ;;
		run) options+=" --group --file" ;;
		status) options+=" --file" ;;
		policy) options+=" --file --with" ;;
		metrics) options+=" --textfile --every" ;;
		esac
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		return
	fi
	case $command/$((cword - i)) in
	/*) mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur") ;;
	policy/1) mapfile -t COMPREPLY < <(compgen -W "show check diff init" -- "$cur") ;;
	policy/2) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	explain/1) mapfile -t COMPREPLY < <(compgen -W "$(pileguardctl events 2>/dev/null |
		sed -n 's/.*explain \([0-9]*\).*/\1/p' | sort -u)" -- "$cur") ;;
	hold/1 | release/1 | unplace/1) mapfile -t COMPREPLY < <(compgen -W "$(_pileguardctl_names groups 1)" -- "$cur") ;;
	hold/2 | release/2) mapfile -t COMPREPLY < <(compgen -W "$(_pileguardctl_names dependencies 2)" -- "$cur") ;;
	esac
	__ltrim_colon_completions "$cur"
}

complete -F _pileguardctl pileguardctl
