class Detail: pass
def detailed(*a): pass
