"""A store on disk -> the frame table of (task, split, feature sets)."""
import dataclasses
def open_store(root):
    class S:
        def split_videos(self,t,s): return ()
    return S()
