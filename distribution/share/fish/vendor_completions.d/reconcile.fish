# fish completion of reconcile
function __reconcile_complete
  set -l found (command reconcile completion fish (commandline -cp | string collect) 2>/dev/null)
  if test "$found[1]" = files
    set -l option (string match -r -- '^--[^=]*=' (commandline -ct))
    for path in (__fish_complete_path (string replace -- "$option" '' (commandline -ct)))
      printf '%s\n' "$option$path"
    end
    return
  end
  printf '%s\n' $found[2..-1]
end
complete -c reconcile -f -a '(__reconcile_complete)'
