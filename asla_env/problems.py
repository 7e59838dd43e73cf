"""Stub."""
import numpy as np
from ase import Atoms
from asla_env.problem import Problem
def _g(nx):
    a=1.42; b=a*3**.5
    cell=Atoms('C4',positions=[[0,0,5],[a/2,b/2,5],[1.5*a,b/2,5],[2*a,0,5]],cell=[3*a,b,10],pbc=True)
    return cell.repeat((nx,3,1))
def graphene(): return Problem.from_atoms(_g(2),range(1,24),shape=(41,36),name='graphene')
def graphene_mini(): return Problem.from_atoms(_g(1),range(1,12),shape=(21,36),name='mini')
PROBLEMS={'graphene':graphene,'graphene-mini':graphene_mini}
